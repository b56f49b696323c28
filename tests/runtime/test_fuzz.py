"""Mutated bundles: each ends in one clean line, or in exactly the frames of the unaltered bundle."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.bundle import MANIFEST, digest_of
from runtime.generate import main

GRAPH = "step.fp32.onnx"
FILES = (MANIFEST, GRAPH, "reference.npz")
ABSURD: list[Any] = [
    None, True, False, -1, 0, 1, 3.5, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf"), "", "x",
    "../../etc/passwd", "\ud800", "a\nb", "0" * 64, [], {}, [[[]]], [None] * 3, {"": None}, {"sha256": None},
]  # fmt: skip

EXAMPLES = 45
"""Mutations of each kind; they are the same in every run."""

COMMAND = ("-n", "2", "--seed", "7", "--backend", "cpu")

Draw = Callable[[st.SearchStrategy[Any]], Any]
Path_ = tuple[str | int, ...]


def one_of_the_files(bundle: Path, draw: Draw) -> Path:
    return bundle / str(draw(st.sampled_from(FILES)))


def position(content: bytes | bytearray, draw: Draw) -> int:
    return int(draw(st.integers(0, len(content) - 1)))


def flip_bits(bundle: Path, draw: Draw) -> None:
    path = one_of_the_files(bundle, draw)
    content = bytearray(path.read_bytes())
    for _ in range(draw(st.integers(1, 8))):
        content[position(content, draw)] ^= 1 << int(draw(st.integers(0, 7)))
    path.write_bytes(content)


def truncate(bundle: Path, draw: Draw) -> None:
    path = one_of_the_files(bundle, draw)
    content = path.read_bytes()
    path.write_bytes(content[: position(content, draw)])


def overwrite(bundle: Path, draw: Draw) -> None:
    path = one_of_the_files(bundle, draw)
    content = bytearray(path.read_bytes())
    first = position(content, draw)
    content[first : first + int(draw(st.integers(1, 200)))] = draw(st.binary(max_size=200))
    path.write_bytes(content)


def swap_files(bundle: Path, draw: Draw) -> None:
    first, second = (bundle / name for name in draw(st.permutations(FILES))[:2])
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    second.write_bytes(a)


def remove(bundle: Path, draw: Draw) -> None:
    path = one_of_the_files(bundle, draw)
    path.unlink()
    if draw(st.booleans()):
        path.mkdir()


def reformat(bundle: Path, draw: Draw) -> None:
    """Other whitespace and another order of keys: the same manifest."""
    data = json.loads((bundle / MANIFEST).read_text())
    shuffled = {key: data[key] for key in draw(st.permutations(list(data)))}
    (bundle / MANIFEST).write_text(json.dumps(shuffled, indent=draw(st.integers(0, 4))))


def edit(bundle: Path, draw: Draw) -> None:
    """An absurd value, a deleted or a new key anywhere in the manifest."""
    data = json.loads((bundle / MANIFEST).read_text())
    for _ in range(draw(st.integers(1, 2))):
        place, key = pick(data, draw)
        kind, absurd = draw(st.sampled_from(["delete", "add", "replace"])), copy.deepcopy(draw(st.sampled_from(ABSURD)))
        if kind == "delete":
            del place[key]
        elif kind == "add" and isinstance(place, dict):
            place["new"] = absurd
        else:
            place[key] = absurd
    write(bundle, data, draw)


def move_value(bundle: Path, draw: Draw) -> None:
    """A value of the manifest in the place of another one."""
    data = json.loads((bundle / MANIFEST).read_text())
    place, key = pick(data, draw)
    other, other_key = pick(data, draw)
    place[key] = copy.deepcopy(other[other_key])
    write(bundle, data, draw)


def nest(bundle: Path, draw: Draw) -> None:
    depth = draw(st.sampled_from([50, 2000, 200_000]))
    data = json.loads((bundle / MANIFEST).read_text())
    data["source"] = "HERE"
    text = json.dumps(data).replace('"HERE"', '{"lineage":' * depth + "{}" + "}" * depth)
    (bundle / MANIFEST).write_text(text)


def reseal_graph(bundle: Path, draw: Draw) -> None:
    """A truncated step graph that the manifest vouches for, so that ONNX Runtime is the one to refuse it."""
    content = (bundle / GRAPH).read_bytes()
    content = content[: position(content, draw)]
    (bundle / GRAPH).write_bytes(content)
    data = json.loads((bundle / MANIFEST).read_text())
    data["files"][GRAPH]["sha256"] = hashlib.sha256(content).hexdigest()
    (bundle / MANIFEST).write_text(json.dumps(data | {"digest": digest_of(data)}))


def places(data: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every place inside the manifest but its digest."""
    for key in data if isinstance(data, dict) else range(len(data)):
        if key != "digest":
            yield (*path, key)
            if isinstance(data[key], (dict, list)):
                yield from places(data[key], (*path, key))


def pick(data: Any, draw: Draw) -> tuple[Any, Any]:
    """A place inside the manifest, by its container and key; each depth is equally likely."""
    found = list(places(data))
    depth = draw(st.sampled_from(sorted({len(path) for path in found})))
    *outer, key = draw(st.sampled_from([path for path in found if len(path) == depth]))
    for step in outer:
        data = data[step]
    return data, key


def write(bundle: Path, data: dict[str, Any], draw: Draw) -> None:
    """Write the manifest with its digest as it was, gone or made to fit."""
    seal = draw(st.sampled_from(["old", "none", "new"]))
    if seal != "old":
        data.pop("digest", None)
    if seal == "new":
        with contextlib.suppress(ValueError):  # NaN has no canonical form
            data["digest"] = digest_of(data)
    (bundle / MANIFEST).write_text(json.dumps(data))


def frames_of(output: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((output / "frames").rglob("*.png"))]


def resealed(mutated: Path, bundle: Path) -> bool:
    """Whether the digest was made to fit an edited manifest, or removed: then it is another, valid bundle."""
    ours, theirs = (json.loads((folder / MANIFEST).read_text()) for folder in (mutated, bundle))
    return bool(ours.get("digest") != theirs["digest"])


@pytest.fixture(scope="module")
def good(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The frames of the unaltered bundle."""
    output = tmp_path_factory.mktemp("good") / "d"
    assert main([str(bundle), "-o", str(output), *COMMAND]) == 0
    return frames_of(output)


ALWAYS_GOOD, NEVER_GOOD = (reformat,), (swap_files, nest, reseal_graph)
SOMETIMES_GOOD = (flip_bits, truncate, overwrite, remove, edit, move_value)  # nothing needs the reference here


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mutate", [*ALWAYS_GOOD, *NEVER_GOOD, *SOMETIMES_GOOD], ids=lambda mutate: mutate.__name__)
def test_a_mutated_bundle_ends_cleanly(
    mutate: Callable[[Path, Draw], None], bundle: Path, good: list[bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    fixtures = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]

    @settings(max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=fixtures)
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            mutated, output = Path(folder) / "bundle", Path(folder) / "frames"
            shutil.copytree(bundle, mutated)
            mutate(mutated, data.draw)
            capfd.readouterr()
            status = main([str(mutated), "-o", str(output), *COMMAND])
            error = capfd.readouterr().err
            if status == 0:
                assert error == "" and mutate not in NEVER_GOOD
                assert frames_of(output) == good or resealed(mutated, bundle)
            else:
                assert mutate not in ALWAYS_GOOD
                assert error.count("\n") == 1 and len(error) < 2000 and "Traceback" not in error, error
                assert not (output / "dataset.json").exists()

    examples()
