"""Checkpoints that hold, bare state dicts, and files that nobody should open."""

from __future__ import annotations

import copy
import math
import os
import pickle
import random
import re
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contract.driver_hashes import hash_drivers, trained_on
from contract.errors import EdgeError, Refused, UsageError
from contract.files import sha256_of
from contract.schedule import Diffusion
from models.annotator import Annotator, AnnotatorConfig, TrainedAnnotator
from models.checkpoint import Checkpoint, SamplerDefaults, read_checkpoint, write_checkpoint
from models.importers.given import Given
from tests.tiny_checkpoint import tiny_checkpoint

BYTE_MUTATIONS = 500
VALUE_MUTATIONS = 250
BARE: dict[str, Any] = {"arch": "document", "schema": "document", "image_size": 16}


@pytest.fixture(scope="module")
def tiny() -> Checkpoint:
    return tiny_checkpoint(base=1, size=8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_round_trip(tmp_path: Path, dtype: torch.dtype) -> None:
    sampler = SamplerDefaults((999, 499, 99), 3, 1.0)
    written = tiny_checkpoint(diffusion=Diffusion(1000, "cosine-zero", "v"), sampler=sampler, dtype=dtype)
    sha256 = write_checkpoint(tmp_path / "a.pt", written)
    read = read_checkpoint(tmp_path / "a.pt")
    assert (read.config, read.schema, read.diffusion) == (written.config, written.schema, written.diffusion)
    assert (read.sampler, read.annotator, read.lineage) == (sampler, None, written.lineage)
    assert read.sha256 == sha256 == sha256_of(tmp_path / "a.pt")
    assert all(weight.dtype == dtype and torch.equal(weight, written.weights[n]) for n, weight in read.weights.items())
    stored = {name: weight.float() for name, weight in written.weights.items()}
    network = read.network()
    assert not network.training and all(torch.equal(w, stored[name]) for name, w in network.state_dict().items())
    assert os.listdir(tmp_path) == ["a.pt"]


def test_a_sampler_without_a_shift_is_evenly_spaced(tmp_path: Path, tiny: Checkpoint) -> None:
    content = replace(tiny, sampler=SamplerDefaults(None, 4, 1.0)).to_dict()
    assert content["sampler"].pop("shift") == 1.0
    assert Checkpoint.from_dict(content).timesteps() == (999, 749, 499, 249)
    assert Checkpoint.from_dict(content).timesteps(2, 3.0) == (999, 749)


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path: Path, tiny: Checkpoint) -> None:
    write_checkpoint(tmp_path / "a.pt", tiny)
    write_checkpoint(tmp_path / "other name.pt", tiny)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other name.pt").read_bytes()


def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, tiny: Checkpoint) -> None:
    write_checkpoint(tmp_path / "a.pt", tiny)
    before = (tmp_path / "a.pt").read_bytes()
    broken = copy.deepcopy(tiny)
    broken.weights["unet.out.bias"][0] = math.nan
    with pytest.raises(Refused, match=r"unet\.out\.bias holds NaN"):
        write_checkpoint(tmp_path / "a.pt", broken)
    assert (tmp_path / "a.pt").read_bytes() == before and os.listdir(tmp_path) == ["a.pt"]


def test_annotator_and_lineage_travel(tmp_path: Path, tiny: Checkpoint) -> None:
    network = Annotator(AnnotatorConfig(size=tiny.config.size, widths=(32,), landmarks=("nose",)), tiny.schema)
    network.eval()
    annotator = TrainedAnnotator.of(network, {"frames": 3})
    write_checkpoint(tmp_path / "a.pt", replace(tiny, annotator=annotator, lineage={"steps": [1, 2]}))
    read = read_checkpoint(tmp_path / "a.pt")
    assert read.lineage == {"steps": [1, 2]}
    assert read.annotator is not None and read.annotator.held_out == {"frames": 3}
    frames = np.random.default_rng(0).integers(256, size=(2, 8, 8, 3), dtype=np.uint8)
    first = annotator.network(tiny.schema).annotate(frames)
    second = read.annotator.network(tiny.schema).annotate(frames)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert np.allclose(first.probabilities[:, :4].sum(axis=1), 1.0)


def test_many_students_that_go_on_from_each_other_can_be_written(tmp_path: Path, tiny: Checkpoint) -> None:
    """Each learnt from the same people, of whom 15 generations would say 8 million characters if each listed them."""
    drivers = hash_drivers([f"driver {index}" for index in range(33_000)], "frames")
    checkpoint = replace(tiny, lineage={"drivers": drivers})
    for _ in range(15):
        lineage = {"drivers": drivers, "distilled": [{"drivers": drivers, "before": checkpoint.lineage}]}
        write_checkpoint(tmp_path / "student.pt", replace(tiny, lineage=lineage))
        checkpoint = read_checkpoint(tmp_path / "student.pt")
    assert trained_on(checkpoint.lineage, "driver 7")
    assert trained_on(checkpoint.lineage, "driver 33000") is False


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: 3, "expected a dict with config, weights and held_out"),
        (lambda a: a | {"config": a["config"] | {"size": 7}}, "size 7"),
        (lambda a: a | {"config": a["config"] | {"size": 16}}, "weights don't fit"),
        (lambda a: a | {"config": a["config"] | {"features": 10**9}}, "features 1000000000"),
        (lambda a: a | {"weights": {}}, "expected a dict of tensors"),
        (lambda a: a | {"weights": a["weights"] | {"dense.bias": torch.full((128,), math.nan)}}, "NaN"),
        (lambda a: a | {"held_out": {"frames": math.inf}}, "finite"),
    ],
)
def test_an_odd_annotator_is_refused(
    tmp_path: Path, tiny: Checkpoint, change: Callable[[dict[str, Any]], Any], says: str
) -> None:
    network = Annotator(AnnotatorConfig(size=tiny.config.size, widths=(32,)), tiny.schema)
    content = tiny.to_dict() | {"annotator": change(TrainedAnnotator.of(network, {}).to_dict())}
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(Refused, match=re.escape(says)):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("nest", [
    lambda weights: weights,
    lambda weights: OrderedDict(weights),
    lambda weights: {"state_dict": weights, "epoch": 3},
    lambda weights: {"model": weights, "loss": 0.1},
    lambda weights: {"model_state_dict": {f"module.{name}": weight for name, weight in weights.items()}},
    lambda weights: {f"module.{name}": weight for name, weight in weights.items()},
    lambda weights: {name.replace(".mid.", ".middle."): torch.nn.Parameter(w) for name, w in weights.items()},
])  # fmt: skip
def test_bare_state_dicts(tmp_path: Path, nest: Callable[[dict[str, Any]], Any]) -> None:
    original = tiny_checkpoint(base=3)
    torch.save(nest(dict(original.weights)), tmp_path / "doc.pt")
    read = read_checkpoint(tmp_path / "doc.pt", Given(**BARE))
    assert read.config == original.config and read.diffusion == Diffusion(1000, "cosine", "epsilon")
    assert all(torch.equal(weight, original.weights[name]) for name, weight in read.weights.items())


@pytest.mark.parametrize("flags", [{}, {"arch": "document"}, {"arch": "document", "schema": "document"}])
def test_a_bare_state_dict_asks_for_what_it_does_not_say(tmp_path: Path, flags: dict[str, Any]) -> None:
    torch.save(dict(tiny_checkpoint().weights), tmp_path / "doc.pt")
    with pytest.raises(UsageError, match=r"doc\.pt: .*add them: --schema document --image-size 256$"):
        read_checkpoint(tmp_path / "doc.pt", Given(**flags))


@pytest.mark.parametrize("flags, message", [
    ({"arch": "edge"}, "--arch edge: expected one of document"),
    ({"schema": "face"}, "--schema face: expected one of document, cabin"),
    ({"schema": "cabin"}, r"condition_encoder.encoder.0.weight \[128, 10\] instead of \[128, 28\]"),
    ({"image_size": 60}, "size 60; expected multiples of 8"),
    ({"image_size": 10**9}, "size 1000000000; expected 8 to 1024 pixels"),
])  # fmt: skip
def test_wrong_flags_for_a_bare_state_dict(tmp_path: Path, flags: dict[str, Any], message: str) -> None:
    torch.save(dict(tiny_checkpoint().weights), tmp_path / "doc.pt")
    with pytest.raises(EdgeError, match=message) as refusal:
        read_checkpoint(tmp_path / "doc.pt", Given(**(BARE | flags)))
    assert isinstance(refusal.value, UsageError) == ("condition_encoder" not in message)


@pytest.mark.parametrize("flags", [{"arch": "edge"}, {"schema": "cabin"}, {"image_size": 64}])
def test_flags_that_contradict_a_checkpoint(tmp_path: Path, flags: dict[str, Any], tiny: Checkpoint) -> None:
    write_checkpoint(tmp_path / "a.pt", tiny)
    with pytest.raises(UsageError, match=r"contradicts the checkpoint, which has \w+; leave --"):
        read_checkpoint(tmp_path / "a.pt", Given(**flags))
    read_checkpoint(tmp_path / "a.pt", Given("document", "document", 8))


def test_faulty_keys_are_named(tmp_path: Path) -> None:
    weights = dict(tiny_checkpoint().weights)
    for name in ("unet.down1.conv.0.bias", "unet.down1.conv.2.bias", "unet.down2.conv.0.bias", "unet.out.bias"):
        del weights[name]
    weights |= {"ema.a": torch.ones(1), "ema.b": torch.ones(1)}
    weights["unet.up1.conv.0.weight"] = weights["unet.up1.conv.0.weight"][:, :-1]
    torch.save(weights, tmp_path / "doc.pt")
    with pytest.raises(Refused) as caught:
        read_checkpoint(tmp_path / "doc.pt", Given(**BARE))
    message = str(caught.value)
    assert "4 missing (unet.down1.conv.0.bias, unet.down1.conv.2.bias, unet.down2.conv.0.bias)" in message
    assert "2 unexpected (ema.a, ema.b)" in message
    assert "1 of another shape (unet.up1.conv.0.weight [8, 31, 3, 3] instead of [8, 32, 3, 3])" in message
    assert "\n" not in message


class Runs:
    """Unpickled without care, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_does_not_run(tmp_path: Path, zipped: bool, protocol: int) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    content = {"unet.out.bias": Runs(marker)}
    if zipped:
        torch.save(content, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(Refused, match="could run code"):
        read_checkpoint(path, Given(**BARE))
    assert not marker.exists()
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.load(file, weights_only=False) if zipped else pickle.load(file)
    assert marker.exists(), "the file would have run code"


def test_files_that_are_no_checkpoint(tmp_path: Path, tiny: Checkpoint) -> None:
    write_checkpoint(tmp_path / "good.pt", tiny)
    good = (tmp_path / "good.pt").read_bytes()
    torch.save(dict(tiny.weights), tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    faulty = {
        "empty.pt": (b"", "0 bytes"),
        "truncated.pt": (good[: len(good) // 2], "damaged archive"),
        "headless.pt": (good[10:], "not a PyTorch checkpoint"),
        "random.pt": (random.Random(0).randbytes(4096), "not a PyTorch checkpoint"),
        "flipped.pt": (good[:-60_000] + bytes([good[-60_000] ^ 4]) + good[-59_999:], "checksum|damaged"),
        "legacy.pt": ((tmp_path / "legacy.pt").read_bytes(), r"save it again: python -c"),
    }
    for name, (content, message) in faulty.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Refused, match=message):
            read_checkpoint(tmp_path / name, Given(**BARE))
    with pytest.raises(Refused, match="no such file"):
        read_checkpoint(tmp_path / "missing.pt")
    with pytest.raises(Refused, match=r"no config\.json in it"):
        read_checkpoint(tmp_path)
    for name, value in {"list": [1, 2], "number": 3, "no weights": {"epoch": 3}, "nothing": {}}.items():
        torch.save(value, tmp_path / name)
        with pytest.raises(Refused, match="no weights in it"):
            read_checkpoint(tmp_path / name, Given(**BARE))


def _change(data: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    *parents, last = path.split("/")
    inner = data
    for key in parents:
        inner[key] = dict(inner[key])
        inner = inner[key]
    inner[last] = value
    return data


@pytest.mark.parametrize("path, value, message", [
    ("format", "dms-edge/checkpoint@2", "update the software"),
    ("format", 7, "expected one that python -m training.train wrote"),
    ("extra", 1, r"missing or unexpected entries \(extra\)"),
    ("network/size", 12, "expected multiples of 8"),
    ("network/arch", "gan", "network 'gan'; expected a dict with 'arch', one of document, edge"),
    ("network/base", 2**40, "base 1099511627776; expected int <= 256"),
    ("network/condition_width", 26, "schema 'document' has width 10"),
    ("diffusion/timesteps", 10**12, "timesteps 1000000000000; expected int <= 100000"),
    ("sampler/steps", 0, "steps 0; expected int >= 1"),
    ("sampler/steps", 1001, "1001 steps, timesteps up to 0; the network has 1000"),
    ("sampler/guidance", 2.0, "no null condition; expected 1"),
    ("sampler/guidance", math.nan, "isn't a finite plain value"),
    ("sampler/timesteps", [5, 5], "falling whole numbers"),
    ("annotator", 3, "expected a dict"),
    ("lineage", {"loss": math.inf}, "isn't a finite plain value"),
    ("lineage", {"seen": list(range(30_000))}, "more than 20000 values"),
    ("weights/unet.out.bias", torch.tensor([0.0, math.inf, 0.0]), "NaN or infinity"),
    ("weights/unet.out.bias", torch.zeros(3, dtype=torch.int64), "expected a dense float32"),
    ("weights/unet.out.bias", torch.zeros(1).expand(10**12), "instead of"),
    ("weights/unet.out.bias", [0.0, 0.0, 0.0], "is list; expected a dense float32"),
    ("weights", {}, "expected a dict of tensors"),
])  # fmt: skip
def test_odd_content_is_refused(tmp_path: Path, tiny: Checkpoint, path: str, value: object, message: str) -> None:
    torch.save(_change(tiny.to_dict(), path, value), tmp_path / "odd.pt")
    with pytest.raises(Refused, match=message) as caught:
        read_checkpoint(tmp_path / "odd.pt")
    assert str(caught.value).startswith(str(tmp_path / "odd.pt"))


def test_shared_references_are_not_unrolled(tmp_path: Path, tiny: Checkpoint) -> None:
    bomb: list[Any] = ["x"]
    for _ in range(14):
        bomb = [bomb] * 10
    torch.save(tiny.to_dict() | {"lineage": {"bomb": bomb}}, tmp_path / "bomb.pt")
    with pytest.raises(Refused, match="more than"):
        read_checkpoint(tmp_path / "bomb.pt")


def _refused_or_same(path: Path, original: Checkpoint) -> bool:
    """Whether the file is refused; a file that is read has the original's weights."""
    try:
        read = read_checkpoint(path)
    except EdgeError as error:
        assert "\n" not in str(error).strip()
        return True
    assert set(read.weights) == set(original.weights)
    assert all(torch.equal(weight, original.weights[name]) for name, weight in read.weights.items())
    return False


def _mutated(good: bytes, rng: random.Random) -> bytes:
    content, size = bytearray(good), len(good)
    kind = rng.choice(["flip", "flip", "directory", "truncate", "swap", "zero", "insert"])
    if kind == "flip":
        for _ in range(rng.choice([1, 1, 8])):
            content[rng.randrange(size)] ^= 1 << rng.randrange(8)
    elif kind == "directory":  # names, sizes and offsets of the archive's members stand at its end
        content[size - 1 - rng.randrange(6000)] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del content[rng.randrange(size) :]
    elif kind == "zero":
        start = rng.randrange(size)
        content[start : start + 64] = bytes(len(content[start : start + 64]))
    elif kind == "insert":
        content.insert(rng.randrange(size), rng.randrange(256))
    else:
        length, (a, b) = 256, sorted(rng.sample(range(0, size - 512), 2))
        content[a : a + length], content[b : b + length] = content[b : b + length], content[a : a + length]
    return bytes(content)


def test_mutated_files_are_refused_or_unharmed(tmp_path: Path, tiny: Checkpoint) -> None:
    rng, path = random.Random(20), tmp_path / "mutated.pt"
    write_checkpoint(path, tiny)
    good, refused = path.read_bytes(), 0
    for _ in range(BYTE_MUTATIONS):
        path.write_bytes(_mutated(good, rng))
        refused += _refused_or_same(path, tiny)
    assert refused > BYTE_MUTATIONS / 2, "most mutations do damage"


ABSURD: list[Any] = [
    None, True, -1, 0, 2**62, 10**30, 1e308, math.nan, -math.inf, "", "x" * 100_000, "\x00\ud800", [], {}, [[]] * 50,
    {"": {}}, {1: 2}, torch.zeros(3), torch.zeros(0), torch.zeros(1).expand(10**11), torch.zeros(3, dtype=torch.bool),
    torch.tensor(math.nan), torch.eye(3).to_sparse(), [1, "a", None], "document", "cosine", 3.5, [999, 99],
]  # fmt: skip


def _absurd(data: dict[str, Any], rng: random.Random) -> None:
    """Put an absurd value somewhere into nested dicts and lists, drop an entry, or add one."""
    inner: Any = data
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        key = rng.choice(keys)
        if isinstance(inner[key], (dict, list)) and inner[key] and rng.random() < 0.85:
            inner = inner[key]
            continue
        how = rng.random()
        if how < 0.8:
            inner[key] = rng.choice(ABSURD)
        elif how < 0.9 or isinstance(inner, list):
            del inner[key]
        else:
            inner[str(rng.random())] = rng.choice(ABSURD)
        return


def test_absurd_values_are_refused_or_unharmed(tmp_path: Path, tiny: Checkpoint) -> None:
    rng, path, refused = random.Random(21), tmp_path / "absurd.pt", 0
    for _ in range(VALUE_MUTATIONS):
        data = tiny.to_dict()
        data["weights"] = dict(data["weights"])
        for _ in range(rng.choice([1, 1, 3])):
            _absurd(data, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(data, path)
            refused += _refused_or_same(path, tiny)
    assert refused > VALUE_MUTATIONS / 2, "most absurd values do damage"
