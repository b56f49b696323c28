"""Mutated bundles: each ends in one clean line, or in exactly the frames of the unaltered bundle."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.bundle import MANIFEST, digest_of
from runtime.generate import main

MUTATIONS = 600
FILES = (MANIFEST, "step.fp32.onnx", "reference.npz")
ABSURD: list[Any] = [
    None, True, False, -1, 0, 1, 3.5, 2**31, 2**63, 10**30, 1e308, float("nan"), float("inf"), "", "x",
    "../../etc/passwd", "\ud800", "a\nb", "0" * 64, [], {}, [[[]]], [None] * 3, {"": None}, {"sha256": None},
]  # fmt: skip

Rng = np.random.Generator


def flip_bits(bundle: Path, rng: Rng) -> None:
    path = bundle / rng.choice(FILES)
    content = bytearray(path.read_bytes())
    for position in rng.integers(len(content), size=rng.integers(1, 9)):
        content[position] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def truncate(bundle: Path, rng: Rng) -> None:
    path = bundle / rng.choice(FILES)
    content = path.read_bytes()
    path.write_bytes(content[: rng.integers(len(content))])


def overwrite(bundle: Path, rng: Rng) -> None:
    path = bundle / rng.choice(FILES)
    content = bytearray(path.read_bytes())
    first = int(rng.integers(len(content)))
    content[first : first + int(rng.integers(1, 200))] = rng.bytes(int(rng.integers(0, 200)))
    path.write_bytes(content)


def swap_files(bundle: Path, rng: Rng) -> None:
    first, second = rng.choice(FILES, 2, replace=False)
    a, b = (bundle / first).read_bytes(), (bundle / second).read_bytes()
    (bundle / first).write_bytes(b)
    (bundle / second).write_bytes(a)


def remove(bundle: Path, rng: Rng) -> None:
    (bundle / rng.choice(FILES)).unlink()


def replace_by_folder(bundle: Path, rng: Rng) -> None:
    path = bundle / rng.choice(FILES)
    path.unlink()
    path.mkdir()


def reformat(bundle: Path, rng: Rng) -> None:
    """Other whitespace and another order of keys: the same manifest."""
    data = json.loads((bundle / MANIFEST).read_text())
    shuffled = {str(key): data[key] for key in rng.permutation(list(data))}
    (bundle / MANIFEST).write_text(json.dumps(shuffled, indent=int(rng.integers(5))))


def edit(bundle: Path, rng: Rng) -> None:
    """An absurd value, a deleted or a new key anywhere in the manifest, its digest unfit, gone or resealed."""
    data = json.loads((bundle / MANIFEST).read_text())
    for _ in range(int(rng.integers(1, 3))):
        place, key = pick(data, rng)
        kind = rng.integers(4)
        if kind == 0:
            del place[key]
        elif kind == 1 and isinstance(place, dict):
            place["new"] = copy.deepcopy(ABSURD[rng.integers(len(ABSURD))])
        else:
            place[key] = copy.deepcopy(ABSURD[rng.integers(len(ABSURD))])
    write(bundle, data, rng)


def move_value(bundle: Path, rng: Rng) -> None:
    """A value of the manifest in the place of another one."""
    data = json.loads((bundle / MANIFEST).read_text())
    place, key = pick(data, rng)
    other, other_key = pick(data, rng)
    place[key] = copy.deepcopy(other[other_key])
    write(bundle, data, rng)


def nest(bundle: Path, rng: Rng) -> None:
    depth = int(rng.choice([50, 2000, 200_000]))
    data = json.loads((bundle / MANIFEST).read_text())
    data["source"] = "HERE"
    text = json.dumps(data).replace('"HERE"', '{"lineage":' * depth + "{}" + "}" * depth)
    (bundle / MANIFEST).write_text(text)


def reseal_graph(bundle: Path, rng: Rng) -> None:
    """A damaged step graph that the manifest vouches for, so that ONNX Runtime is the one to refuse it."""
    path = bundle / "step.fp32.onnx"
    content = bytearray(path.read_bytes())
    content = content[: rng.integers(len(content))]
    path.write_bytes(content)
    data = json.loads((bundle / MANIFEST).read_text())
    data["files"]["step.fp32.onnx"]["sha256"] = hashlib.sha256(content).hexdigest()
    (bundle / MANIFEST).write_text(json.dumps(data | {"digest": digest_of(data)}))


def pick(data: Any, rng: Rng) -> tuple[Any, Any]:
    """A random place inside the manifest, by its container and key; deep places as likely as shallow ones."""
    place = data
    while True:
        keys = [key for key in (place if isinstance(place, dict) else range(len(place))) if key != "digest"]
        key = keys[rng.integers(len(keys))]
        if not isinstance(place[key], (dict, list)) or not place[key] or rng.random() < 0.2:
            return place, key
        place = place[key]


def write(bundle: Path, data: dict[str, Any], rng: Rng) -> None:
    seal = rng.integers(3)
    if seal == 1:
        data.pop("digest", None)
    if seal == 2:
        try:
            data["digest"] = digest_of(data)
        except ValueError:  # NaN has no canonical form
            data.pop("digest", None)
    (bundle / MANIFEST).write_text(json.dumps(data))


MUTATORS: list[Callable[[Path, Rng], None]] = [
    flip_bits, truncate, overwrite, swap_files, remove, replace_by_folder, reformat, edit, edit, edit, move_value,
    move_value, nest, reseal_graph,
]  # fmt: skip


def drawn(output: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((output / "frames").iterdir())]


@pytest.mark.filterwarnings("error")
def test_mutated_bundles_end_cleanly(bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["-n", "2", "--seed", "7", "--backend", "cpu"]
    assert main([str(bundle), "-o", str(tmp_path / "good"), *command]) == 0
    good = drawn(tmp_path / "good")
    capfd.readouterr()
    outcomes = {0: 0, 1: 0, 2: 0}
    for number in range(MUTATIONS):
        rng = np.random.default_rng(number)
        mutated, output = tmp_path / f"{number}.bundle", tmp_path / f"{number}.frames"
        shutil.copytree(bundle, mutated)
        mutate = MUTATORS[number % len(MUTATORS)]
        mutate(mutated, rng)
        status = main([str(mutated), "-o", str(output), *command])
        error = capfd.readouterr().err
        told = f"mutation {number} by {mutate.__name__}: {error!r}"
        outcomes[status] += 1
        if status == 0:
            assert error == "", told
            assert drawn(output) == good or resealed_meaning(mutated, bundle), told
        else:
            assert error.count("\n") == 1 and len(error) < 2000 and "Traceback" not in error, told
            assert not (output / "dataset.json").exists(), told
        shutil.rmtree(mutated)
    assert outcomes[0] > 20 and outcomes[1] > 400, outcomes


def resealed_meaning(mutated: Path, bundle: Path) -> bool:
    """Whether the digest was made to fit an edited manifest, or removed: then it is another, valid bundle."""
    ours, theirs = (json.loads((folder / MANIFEST).read_text()) for folder in (mutated, bundle))
    return bool(ours.get("digest") != theirs["digest"])
