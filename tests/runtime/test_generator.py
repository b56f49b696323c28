"""The Generator draws what the step graph says, whatever the batch, and refuses graphs that break the contract."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.bundle import FileEntry, Manifest, read_manifest, write_manifest
from contract.conditions import Schema
from contract.errors import Refused, Unavailable, UsageError
from contract.gpu import driver_problem
from contract.schemas import CABIN, DOCUMENT
from runtime import Generator
from runtime.backends.registry import BACKENDS, default_batch
from tests.fake_bundle import IMAGE, STEPS, expected_frames, fake_sampler, step_graph, write_fake_bundle
from tests.runtime.host_cpu import AUTO_TAKES, why_not_others

ONE_LEVEL = 1
"""A sum in another order may round a pixel to the neighbouring level of 255."""


def difference(found: np.ndarray, expected: np.ndarray) -> int:
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.uint8
    return int(np.abs(found.astype(int) - expected.astype(int)).max())


def some_conditions(count: int) -> list[dict[str, Any]]:
    return [{"lighting": "night"}, {"eye_openness": 0.1, "accessory": "mask"}, {}, {"head_yaw": -45}] * (count // 4 + 1)


@pytest.mark.parametrize("schema", [CABIN, DOCUMENT], ids=["cabin", "document"])
def test_frames_are_those_of_ddim_in_numpy(tmp_path: Path, schema: Schema) -> None:
    write_fake_bundle(tmp_path, schema)
    with Generator.open(tmp_path, backend="cpu", precision="fp32") as generator:
        conditions = generator.encode([{"lighting": "night"}, {}, {"accessory": "mask"}], seed=5, start=9)
        frames = generator.generate(conditions, seed=5, start=9)
    expected = expected_frames(conditions, seed=5, start=9)
    assert difference(frames, expected) <= ONE_LEVEL
    assert len(np.unique(expected)) > 50 and difference(expected[:1], expected[1:2]) > 50  # the frames say something


@pytest.mark.parametrize("batch", [1, 3, 4, 7, 64])
def test_a_frame_depends_on_its_seed_index_and_condition_alone(bundle: Path, batch: int) -> None:
    wanted = some_conditions(10)[:10]
    with Generator.open(bundle, "cpu", batch=batch) as generator:
        whole = generator.generate(wanted, seed=2)
        parts = [generator.generate(wanted[i : i + 3], seed=2, start=i) for i in range(0, 10, 3)]
        conditions = generator.complete(wanted, seed=2)
        encoded = generator.generate(generator.schema.encode(conditions), seed=2)
    with Generator.open(bundle, "cpu", batch=2) as generator:
        assert difference(generator.generate(conditions, seed=2), whole) <= ONE_LEVEL
    assert difference(np.concatenate(parts), whole) <= ONE_LEVEL
    assert difference(encoded, whole) <= ONE_LEVEL


def test_seed_index_and_condition_each_change_the_frame(bundle: Path) -> None:
    night = {name: CABIN.complete({"lighting": "night"}, np.random.default_rng(0))[name] for name in CABIN.names}
    with Generator.open(bundle, "cpu") as generator:
        base = generator.generate([night], seed=0)
        for other in (
            generator.generate([night], seed=1),
            generator.generate([night], seed=0, start=1),
            generator.generate([night | {"lighting": "day"}], seed=0),
        ):
            assert difference(other, base) > ONE_LEVEL


def test_no_conditions_give_no_frames(bundle: Path) -> None:
    with Generator.open(bundle, "cpu") as generator:
        assert generator.generate([]).shape == (0, IMAGE.height, IMAGE.width, IMAGE.channels)


def test_what_the_schema_does_not_know_is_refused(bundle: Path) -> None:
    with Generator.open(bundle, "cpu") as generator:
        for wrong in ([{"colour": "red"}], [{"lighting": "dawn"}], [{"eye_openness": 2}]):
            with pytest.raises(UsageError):
                generator.generate(wrong)
        for shape in ((2, CABIN.width + 1), (CABIN.width,)):
            with pytest.raises(UsageError, match="expected numbers"):
                generator.generate(np.zeros(shape, np.float32))
        with pytest.raises(UsageError, match="finite"):
            generator.generate(np.full((1, CABIN.width), np.nan, np.float32))
        for seed, start in ((-1, 0), (1.5, 0), (0, -1)):
            with pytest.raises(UsageError, match="seed or index"):
                generator.generate([{}], seed=seed, start=start)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="a single one"):
            generator.generate({"lighting": "night"})  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="finite"):
            generator.generate(np.full((1, CABIN.width), 1e300))
    with pytest.raises(UsageError, match="closed"):
        generator.generate([{}])


def test_a_backend_asked_for_by_name_has_to_be_there(bundle: Path) -> None:
    with pytest.raises(Unavailable, match="auto, trt, cuda, openvino, cpu"):
        Generator.open(bundle, backend="abacus")
    with pytest.raises(Unavailable, match=r"fp16.*only fp32.*python -m export"):
        Generator.open(bundle, "cpu", precision="fp16")


def test_auto_takes_the_first_row_that_works_and_says_why(bundle: Path) -> None:
    if problem := driver_problem():
        with Generator.open(bundle) as generator:
            choice = generator.choice
        assert (choice.backend, choice.precision, choice.reason) == (AUTO_TAKES, "fp32", why_not_others(problem))
        for backend in ("trt", "cuda"):
            with pytest.raises(Unavailable) as refusal:
                Generator.open(bundle, backend)
            assert str(refusal.value) == f"{backend}: {problem}"
    else:
        with Generator.open(bundle) as generator:
            assert generator.choice.backend in ("trt", "cuda") or "pip install" in generator.choice.reason


@pytest.mark.parametrize("batch", [0, -1, 4097])
def test_an_absurd_batch_is_a_usage_error(bundle: Path, batch: int) -> None:
    with pytest.raises(UsageError, match="from 1 to 4096"):
        Generator.open(bundle, "cpu", batch=batch)


def test_the_default_batch_shrinks_as_frames_grow() -> None:
    for name, row in BACKENDS.items():
        assert default_batch(name, 64, 64) == default_batch(name, 128, 128) == row.batch
        assert default_batch(name, 256, 256) == row.batch // 4
        assert default_batch(name, 4096, 4096) == 1


def replaced(bundle: Path, graph: bytes) -> Path:
    """The bundle with another step graph, honestly hashed."""
    manifest = read_manifest(bundle)
    entry = FileEntry(hashlib.sha256(graph).hexdigest(), "fp32")
    (bundle / "step.fp32.onnx").write_bytes(graph)
    write_manifest(bundle, replace(manifest, files={**manifest.files, "step.fp32.onnx": entry}))
    return bundle


WRONG_GRAPHS = {
    "other steps": (lambda: step_graph(CABIN.width, IMAGE, fake_sampler(STEPS), steps=4), "4 steps, expected 3"),
    "no steps": (lambda: step_graph(CABIN.width, IMAGE, fake_sampler(STEPS), steps=""), "expected 3"),
    "other width": (lambda: step_graph(10, IMAGE, fake_sampler(STEPS)), "inputs .* expected"),
    "other height": (lambda: step_graph(CABIN.width, IMAGE._replace(height=8), fake_sampler(STEPS)), "inputs"),
    "fixed batch": (lambda: step_graph(CABIN.width, IMAGE, fake_sampler(STEPS), batch=2), "inputs"),
    "no graph": (lambda: b"no protobuf at all", "(ONNX Runtime|OpenVINO) says"),
    "nothing": (lambda: b"", "(ONNX Runtime|OpenVINO) says"),
}


@pytest.mark.parametrize(("graph", "message"), WRONG_GRAPHS.values(), ids=WRONG_GRAPHS)
def test_a_graph_that_breaks_the_contract_is_refused(own_bundle: Path, graph: Any, message: str, on_cpu: str) -> None:
    with pytest.raises(Refused, match=message) as refusal:
        Generator.open(replaced(own_bundle, graph()), on_cpu)
    assert "python -m export" in str(refusal.value)
    assert ("says" in str(refusal.value)) == ("says" in message)


def test_steps_are_taken_from_the_manifest(own_bundle: Path) -> None:
    """A manifest that asks for more rows than the table has is refused before any row is read."""
    manifest: Manifest = read_manifest(own_bundle)
    write_manifest(own_bundle, replace(manifest, sampler=fake_sampler(5)))
    with pytest.raises(Refused, match="made for 3 steps, expected 5"):
        Generator.open(own_bundle, "cpu")
