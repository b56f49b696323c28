"""Which engine runs where, decided from the manifest alone, and how a batch size comes to its CUDA graph."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from contract.bundle import FileEntry, Manifest, Sampler
from contract.engine import BatchProfile, Engine, Machine, choose_engine, engine_files, misfit, read_engines
from contract.errors import Refused, Unavailable
from contract.frames import ImageShape
from contract.schemas import CABIN
from runtime.backends.cuda_graph_choice import GRAPH, PLAIN, TRIALS, WARM_UP, GraphChoice
from runtime.backends.onnx_interface import find
from runtime.backends.registry import BACKENDS

MANIFEST = Manifest(
    ImageShape(3, 16, 16), CABIN, Sampler((999,), (0.0,), "x0"), {"step.fp32.onnx": FileEntry("0" * 64, "fp32")}
)
ORIN = Machine("sm87", {"tensorrt": "10.3.0"})
ENTRY = {
    "flavor": "tensorrt",
    "tensorrt": "10.3.0",
    "target": ["sm87"],
    "batch": {"min": 1, "opt": 4, "max": 8},
}


def engine(name: str = "step.fp16.tensorrt.sm87.b1-4-8.engine", **changes: Any) -> Engine:
    made = Engine(name, "fp16", "tensorrt", "10.3.0", ("sm87",), BatchProfile(1, 4, 8))
    return msgspec.structs.replace(made, **changes)


MISFITS: dict[str, tuple[dict[str, Any], Machine, str | None]] = {
    "fits": ({}, ORIN, None),
    "one of several targets": ({"target": ("sm86", "sm87")}, ORIN, None),
    "build number left out": ({"tensorrt": "10.3.0.26"}, ORIN, None),
    "ampere plus": ({"target": ("ampere+",)}, Machine("sm120", ORIN.versions), None),
    "ampere plus before ampere": ({"target": ("ampere+",)}, Machine("sm75", ORIN.versions), "built for ampere+"),
    "other gpu": ({}, Machine("sm86", ORIN.versions), "built for sm87, found sm86 here"),
    "sm8 is not sm87": ({"target": ("sm8",)}, ORIN, "built for sm8, found sm87"),
    "newer here": ({}, Machine("sm87", {"tensorrt": "10.13.0"}), "tensorrt 10.3.0, found 10.13.0 here"),
    "other patch": ({}, Machine("sm87", {"tensorrt": "10.3.1"}), "found 10.3.1 here"),
    "other build": ({"tensorrt": "10.3.0.26"}, Machine("sm87", {"tensorrt": "10.3.0.30"}), "found 10.3.0.30"),
    "other flavor": ({}, Machine("sm87", {"tensorrt_rtx": "1.7.1.116"}), "tensorrt, which isn't installed here"),
    "odd version here": ({}, Machine("sm87", {"tensorrt": "nightly"}), "found nightly here"),
}


@pytest.mark.parametrize(("changes", "machine", "reason"), MISFITS.values(), ids=MISFITS)
def test_an_engine_fits_its_own_tensorrt_and_gpu(changes: dict[str, Any], machine: Machine, reason: str | None) -> None:
    found = misfit(engine(**changes), machine)
    assert found is None if reason is None else reason in str(found)


def test_a_refusal_carries_the_very_command_that_builds_the_engine_here() -> None:
    with pytest.raises(Unavailable) as refusal:
        choose_engine([engine()], Machine("sm86", {"tensorrt": "10.16.1"}), None, "build/bundle")
    assert str(refusal.value) == (
        "step.fp16.tensorrt.sm87.b1-4-8.engine: built with tensorrt 10.3.0, found 10.16.1 here; build it for this "
        "machine: python -m export.trt build/bundle --flavor tensorrt --precision fp16 --target sm86 --batch 1,4,8"
    )


def test_the_command_names_the_flavor_that_is_installed_and_a_fixed_batch() -> None:
    with pytest.raises(Unavailable, match=r"--flavor tensorrt_rtx --precision fp16 --target sm120 --batch 4$"):
        machine = Machine("sm120", {"tensorrt_rtx": "1.7.1.116"})
        choose_engine([engine(batch=BatchProfile(4, 4, 4))], machine, None, "b")


@pytest.mark.parametrize(
    ("batch", "chosen"), [(None, "wide"), (1, "one"), (2, "wide"), (4, "four"), (8, "wide"), (32, "wide"), (64, "big")]
)
def test_the_engine_made_for_the_batch_is_preferred(batch: int | None, chosen: str) -> None:
    profiles = {"wide": (1, 4, 32), "one": (1, 1, 1), "four": (4, 4, 4), "big": (33, 64, 64)}
    engines = [engine(name, batch=BatchProfile(*sizes)) for name, sizes in profiles.items()]
    assert choose_engine(engines, ORIN, batch, "b").file == chosen


def test_a_precision_that_fits_is_taken_before_one_whose_batch_fits_better() -> None:
    engines = [
        engine("other gpu", target=("sm86",)),
        engine("first", precision="fp32", batch=BatchProfile(1, 8, 8)),
        engine("second", precision="int8", batch=BatchProfile(1, 1, 1)),
    ]
    assert choose_engine(engines, ORIN, 1, "b").file == "first"


ODD_ENTRIES: dict[str, dict[str, Any]] = {
    "no flavor": {"flavor": None},
    "unknown flavor": {"flavor": "openvino"},
    "no version": {"tensorrt": None},
    "short version": {"tensorrt": "10.3"},
    "endless version": {"tensorrt": "1" * 5000 + ".0.0"},
    "no target": {"target": []},
    "target as text": {"target": "sm87"},
    "odd target": {"target": ["sm87", "../x"]},
    "numeric target": {"target": [87]},
    "no batch": {"batch": None},
    "batch as list": {"batch": [1, 4, 8]},
    "half a batch": {"batch": {"min": 1, "max": 8}},
    "falling batch": {"batch": {"min": 8, "opt": 4, "max": 1}},
    "no rows": {"batch": {"min": 0, "opt": 4, "max": 8}},
    "true rows": {"batch": {"min": True, "opt": 4, "max": 8}},
    "endless rows": {"batch": {"min": 1, "opt": 4, "max": 10**30}},
    "stripped without a graph": {"stripped": True},
}


@pytest.mark.parametrize("changes", ODD_ENTRIES.values(), ids=ODD_ENTRIES)
def test_an_odd_entry_is_refused(changes: dict[str, Any]) -> None:
    entry = FileEntry("0" * 64, "fp16", ENTRY | changes)
    manifest = replace(MANIFEST, files={"step.fp16.x.engine": entry})
    with pytest.raises(Refused, match=r"step.fp16.x.engine: .*; build the engine again") as refusal:
        read_engines(manifest, ["step.fp16.x.engine"])
    assert len(str(refusal.value)) < 500


def test_engines_and_step_graphs_are_told_apart() -> None:
    files = dict(MANIFEST.files)
    files["step.int8.onnx"] = FileEntry("0" * 64, "int8")
    files["step.int8-trt.onnx"] = FileEntry("0" * 64, "int8", {"for": "tensorrt"})
    files["step.int8.tensorrt.sm87.b1-4-8.engine"] = FileEntry("0" * 64, "int8", ENTRY)
    manifest = replace(MANIFEST, files=files)
    assert find(manifest, "int8") == ["step.int8.onnx"]
    assert engine_files(manifest, "int8") == ["step.int8.tensorrt.sm87.b1-4-8.engine"]
    assert engine_files(manifest, "fp32") == []
    assert BACKENDS["cuda"].find(manifest, "int8") == BACKENDS["cpu"].find(manifest, "int8") == ["step.int8.onnx"]


@pytest.mark.parametrize(
    ("profile", "rows", "pieces"),
    [((1, 4, 8), 20, [8, 8, 4]), ((1, 4, 8), 8, [8]), ((4, 4, 4), 9, [4, 4, 1]), ((1, 1, 1), 3, [1, 1, 1])],
)
def test_a_batch_is_cut_into_pieces_that_the_engine_takes(
    profile: tuple[int, int, int], rows: int, pieces: list[int]
) -> None:
    cut = BatchProfile(*profile).pieces(rows)
    assert [piece.stop - piece.start for piece in cut] == pieces
    assert [row for piece in cut for row in range(piece.start, piece.stop)] == list(range(rows))
    assert all(profile[0] <= BatchProfile(*profile).padded(size) <= profile[2] for size in pieces)


def timed(plain: list[float], graph: list[float]) -> GraphChoice:
    choice, times = GraphChoice(), {PLAIN: iter(plain), GRAPH: iter(graph)}
    for _ in range(2 * (WARM_UP + TRIALS)):
        way = choice.next()
        choice.record(way, next(times[way]))
    return choice


@pytest.mark.parametrize(
    ("plain", "graph", "way"),
    [
        ([90, 4, 4, 4], [90, 3, 3, 3], GRAPH),
        ([1, 4, 4, 4], [1, 5, 5, 5], PLAIN),
        ([9, 4, 4, 4], [9, 4, 4, 4], PLAIN),  # no gain, no graph
        ([9, 4, 4, 100], [9, 5, 5, 1], PLAIN),  # one disturbed batch decides nothing
    ],
)
def test_graphs_are_used_where_they_were_measured_faster(plain: list[float], graph: list[float], way: str) -> None:
    choice = timed(plain, graph)
    assert choice.decided == way and [choice.next() for _ in range(3)] == [way] * 3
    assert choice.to_dict() == {"way": way, "plain_ms": plain[1:], "graph_ms": graph[1:]}


def test_undecided_goes_on_plainly_and_later_times_change_nothing() -> None:
    choice = GraphChoice()
    ways = [choice.next() for _ in range(12)]  # twelve batches in flight, none timed yet
    trial = WARM_UP + TRIALS
    assert ways == [PLAIN] * trial + [GRAPH] * trial + [PLAIN] * 4 and choice.decided is None
    for way, milliseconds in zip(ways, [9, 4, 4, 4, 9, 3, 3, 3, 1, 1, 1, 1], strict=True):
        choice.record(way, milliseconds)
    assert choice.decided == GRAPH
