"""TensorRT engines in a bundle: opened, refused with the command that fixes it, and what they draw.

Engines can't run without a GPU: there `FakeTensorRT` runs the same step graph on a `HostGpu`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.engine import BatchProfile
from contract.errors import Refused
from runtime import Generator
from runtime.generate import main as generate
from tests.fake_bundle import IMAGE, STEPS, expected_frames, fake_sampler, step_graph
from tests.runtime.engine_bundle import FROM_TWO, PROFILE, Install, add_engine, altered, onnx_of
from tests.runtime.fake_tensorrt import plan
from tests.runtime.levels import ONE_LEVEL, difference


@pytest.mark.parametrize("step_on_host", [False, True], ids=["step on the device", "step on the host"])
@pytest.mark.parametrize("integrated", [False, True], ids=["discrete", "integrated"])
def test_an_engine_draws_the_frames_of_its_graph(
    own_bundle: Path, install: Install, integrated: bool, step_on_host: bool
) -> None:
    trt = install(integrated=integrated)
    name = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE, step_on_host))
    with Generator.open(own_bundle, "trt") as generator:
        assert (generator.choice.file, generator.choice.precision, generator.batch) == (name, "fp32", 4)
        rows = generator.encode([{"lighting": "night"}, {}] * 5, seed=5)
        assert difference(generator.generate(rows, seed=5), expected_frames(rows, 5)) <= ONE_LEVEL
        assert generator.engine_seconds == pytest.approx(3 * STEPS / 1000)  # three batches of STEPS milliseconds each
        assert "sm87, tensorrt 10.3.0" in generator.details()["device"]
    assert trt.gpu.live == 0 and trt.gpu.closed


def test_a_larger_batch_is_split(own_bundle: Path, install: Install) -> None:
    install()
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE))
    with Generator.open(own_bundle, "trt", batch=20) as generator:
        rows = generator.encode([{}] * 50, seed=5)
        assert difference(generator.generate(rows, seed=5), expected_frames(rows, 5)) <= ONE_LEVEL
        assert set(generator.details()["cuda_graphs"]) == {"8"}


@pytest.mark.parametrize("flavor", ["tensorrt", "tensorrt_rtx"])
def test_every_batch_size_works_in_the_same_memory(own_bundle: Path, install: Install, flavor: str) -> None:
    trt = install("10.3.0" if flavor == "tensorrt" else "1.7.1.116", flavor)
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), flavor=flavor, tensorrt=trt.__version__)
    with Generator.open(own_bundle, "trt", batch=20) as generator:
        rows = generator.encode([{}] * 20, seed=5)
        for count in (1, 3, 20):
            assert difference(generator.generate(rows[:count], seed=5), expected_frames(rows[:count], 5)) <= ONE_LEVEL
    assert len(trt.scratch) == 3 and len(set(trt.scratch)) == 1
    assert trt.gpu.live == 0


@pytest.mark.parametrize(
    ("flavor", "built_on", "warned"),
    [
        ("tensorrt", {"device": "host", "multiprocessors": 8}, False),
        ("tensorrt", {"device": "host", "multiprocessors": 16}, True),
        ("tensorrt", {"device": "Orin", "multiprocessors": 8}, True),
        ("tensorrt", None, False),
        ("tensorrt_rtx", {"device": "host", "multiprocessors": 16}, False),
    ],
)
def test_warnings_are_kept_and_another_gpu_of_the_same_kind_is_one(
    own_bundle: Path, install: Install, flavor: str, built_on: dict[str, object] | None, warned: bool
) -> None:
    trt = install("10.3.0", flavor)
    known = {"built_on": built_on} if built_on else {}
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), flavor=flavor, tensorrt=trt.__version__, **known)
    with Generator.open(own_bundle, "trt") as generator:
        *ours, theirs = generator.details()["warnings"]
    assert theirs == "Using an engine plan file across different models of devices"
    assert bool(ours) == warned and all("runs on host with 8 multiprocessors" in text for text in ours)


def test_an_engine_of_another_tensorrt_is_refused_with_the_command(
    own_bundle: Path, install: Install, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    install("10.13.0")
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE))
    assert generate([str(own_bundle), "-o", str(tmp_path / "d"), "--backend", "trt"]) == 1
    command = f"python -m export.trt {own_bundle} --flavor tensorrt --precision fp32 --target sm87 --batch 1,4,8"
    error = capsys.readouterr().err
    assert error.endswith(f"built with tensorrt 10.3.0, found 10.13.0 here; build it for this machine: {command}\n")
    assert error.count("\n") == 1 and not (tmp_path / "d").exists()


BAD_PLANS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "no plan": (lambda _: b"ftrt", r"can't be loaded \(magicTag mismatch"),
    "other profile": (
        lambda b: plan(onnx_of(b), FROM_TWO),
        r"profile of batches \[2, 4, 8\], expected \[1",
    ),
    "fixed batch": (lambda b: plan(onnx_of(b), BatchProfile(8, 8, 8)), r"tensors .*FLOAT \[8, 3, 16, 16\].*expected"),
    "other width": (
        lambda _: plan(step_graph(10, IMAGE, fake_sampler(STEPS)), BatchProfile(1, 4, 8)),
        r"'condition': 'FLOAT \[-1, 10\]'.*expected .*'condition': 'FLOAT \[-1, 28\]'",
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD_PLANS.values(), ids=BAD_PLANS)
def test_a_plan_that_is_not_what_the_manifest_says_is_refused(
    own_bundle: Path, install: Install, content: Callable[[Path], bytes], message: str
) -> None:
    trt = install()
    add_engine(own_bundle, content(own_bundle))
    with pytest.raises(Refused, match=message) as refusal:
        Generator.open(own_bundle, "trt")
    assert "build it again: python -m export.trt" in str(refusal.value)
    assert trt.gpu.closed and not trt.gpu.depth


def test_an_altered_engine_never_reaches_tensorrt(own_bundle: Path, install: Install) -> None:
    trt = install()
    name = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE))
    (own_bundle / name).write_bytes(b"something else")
    with pytest.raises(Refused, match="sha256"):
        Generator.open(own_bundle, "trt")
    assert trt.deserialized == 0 and trt.gpu.closed


def test_a_stripped_plan_takes_its_weights_from_its_step_graph(own_bundle: Path, install: Install) -> None:
    onnx = onnx_of(own_bundle)
    source = {"stripped": True, "graph": "step.fp32.onnx", "graph_sha256": hashlib.sha256(onnx).hexdigest()}
    add_engine(own_bundle, plan(onnx, PROFILE, stripped=True), **source)
    install()
    with Generator.open(own_bundle, "trt") as generator:
        rows = generator.encode([{}] * 5, seed=5)
        assert difference(generator.generate(rows, seed=5), expected_frames(rows, 5)) <= ONE_LEVEL


WRONG_WEIGHTS = {
    "another graph": ({"graph_sha256": "0" * 64}, plan(b"", PROFILE), "built from another step.fp32.onnx"),
    "no graph": ({"graph": None}, plan(b"", PROFILE), "names no graph"),
    "missing graph": ({"graph": "step.fp16.onnx"}, plan(b"", PROFILE), "not in the manifest"),
    "not its weights": ({}, plan(altered(), PROFILE, stripped=True), "doesn't take its weights"),
}


@pytest.mark.parametrize(("changes", "content", "message"), WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS)
def test_other_weights_are_refused(
    own_bundle: Path, install: Install, changes: dict[str, Any], content: bytes, message: str
) -> None:
    sha256 = hashlib.sha256(onnx_of(own_bundle)).hexdigest()
    source = {"stripped": True, "graph": "step.fp32.onnx", "graph_sha256": sha256}
    add_engine(own_bundle, content, **source | changes)
    trt = install()
    with pytest.raises(Refused, match=message):
        Generator.open(own_bundle, "trt")
    assert trt.gpu.closed
