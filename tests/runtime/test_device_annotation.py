"""Frames are read where they were drawn, as the CPU reads them; where the device reads something else, on the CPU."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from contract.annotation import Annotation
from contract.bundle import FileEntry, read_manifest, write_manifest
from contract.gpu import driver_problem
from contract.noise import initial_noises
from contract.schemas import CABIN
from runtime import Generator
from runtime.annotator import Annotator
from runtime.backends.cuda_loop import GpuPipeline
from runtime.backends.ort_cuda import CUDA, MAX_SIZES, CudaOnnxBackend
from runtime.device_annotation import AnnotatedFrames, difference
from tests.fake_bundle import IMAGE, STEPS, expected_annotation, expected_frames, fake_sampler, fit_annotator
from tests.runtime.engine_bundle import PROFILE, Install, add_engine, onnx_of
from tests.runtime.fake_tensorrt import plan
from tests.runtime.host_gpu import STEP_MS, HostGpu, OrtStepEngine

SEED = 3
ONE_LEVEL = 1
"""A sum in another order may round a pixel to the neighbouring level of 255."""

FLOAT32 = 1e-4
"""Of values up to 45, computed in fp32 by the graph and in fp64 by numpy; logits go up to some tens."""

SIZES = [4, 4, 8, 3, 1, 20, 4]


def conditions(count: int) -> np.ndarray:
    return CABIN.encode([CABIN.complete({}, np.random.default_rng(index)) for index in range(count)])


def batches(sizes: list[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rows, first = conditions(sum(sizes)), 0
    for size in sizes:
        yield initial_noises(SEED, range(first, first + size), tuple(IMAGE)), rows[first : first + size]
        first += size


def check(frames: np.ndarray, annotation: Any) -> None:
    """Frames of all batches, and what was read from them."""
    assert np.abs(frames.astype(int) - expected_frames(conditions(len(frames)), SEED)).max() <= ONE_LEVEL
    expected = expected_annotation(CABIN, frames, fit_annotator(CABIN, IMAGE, fake_sampler(STEPS)))
    for name, found, wanted in zip(Annotation._fields, annotation, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=FLOAT32, rtol=FLOAT32, err_msg=name)


@pytest.mark.parametrize("integrated", [False, True], ids=["discrete", "integrated"])
@pytest.mark.parametrize("seed", range(3))
def test_the_gpu_loop_reads_frames_however_the_streams_interleave(
    read_bundle: Path, seed: int, integrated: bool
) -> None:
    gpu = HostGpu(seed, integrated, graph_ms=STEPS * STEP_MS)
    step, annotator = (read_bundle / name for name in ("step.fp32.onnx", "annotator.onnx"))
    made = GpuPipeline(gpu, OrtStepEngine(gpu, step.read_bytes(), PROFILE), IMAGE, CABIN.width, STEPS)
    list(made.sample_all(batches([4])))
    reader = OrtStepEngine(gpu, annotator.read_bytes(), PROFILE)
    made.attach(reader)
    found = list(made.read_all(batches(SIZES)))
    assert [len(results["frame"]) for results in found] == SIZES
    joined = {name: np.concatenate([results[name] for results in found]) for name in found[0]}
    check(joined["frame"], [joined[name] for name in Annotation._fields])
    frames = np.concatenate(list(made.sample_all(batches(SIZES))))  # without reading them
    np.testing.assert_array_equal(frames, joined["frame"])
    assert made.seconds == pytest.approx(STEPS * STEP_MS * (1 + 2 * (len(SIZES) + 2)) / 1000)  # reading isn't counted
    made.close()
    assert gpu.live == 0 and reader.closed


@pytest.fixture
def backend(read_bundle: Path) -> Iterator[CudaOnnxBackend]:
    """The CUDA provider's fixed buffers, on the CPU provider."""
    manifest = read_manifest(read_bundle)
    made = CudaOnnxBackend(onnxruntime, read_bundle, manifest, "step.fp32.onnx", "CPUExecutionProvider", "cpu")
    yield made
    made.close()


def test_onnx_runtime_reads_frames_from_its_fixed_buffers(backend: CudaOnnxBackend) -> None:
    backend.open_annotator("fp32")
    sizes = [4] * 12 + list(range(1, MAX_SIZES + 4))  # through graphs, and beyond the sizes with buffers of their own
    found = [(frames.copy(), annotation) for frames, annotation in backend.annotate_all(batches(sizes))]
    assert [len(frames) for frames, _ in found] == sizes
    check(np.concatenate([frames for frames, _ in found]), Annotation.join([read for _, read in found]))


class Astray(CudaOnnxBackend):
    """One whose annotator is sure of something else."""

    def _read(self, frames: np.ndarray) -> Any:
        probabilities, *others = super()._read(frames)
        return [probabilities[:, ::-1], *others]


class Failing(CudaOnnxBackend):
    """One whose annotator gives no numbers from the second batch on."""

    def _read(self, frames: np.ndarray) -> Any:
        found, self.read = super()._read(frames), getattr(self, "read", 0) + 1
        return found if self.read == 1 else [np.full_like(array, np.nan) for array in found]


@pytest.mark.parametrize(("kind", "trusted"), [(CudaOnnxBackend, True), (Astray, False), (Failing, False)])
def test_a_device_is_trusted_once_it_agrees(
    read_bundle: Path, kind: type[CudaOnnxBackend], trusted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_manifest(read_bundle)
    made = kind(onnxruntime, read_bundle, manifest, "step.fp32.onnx", "CPUExecutionProvider", "cpu")
    annotator = Annotator.open(read_bundle, manifest, "fp32")
    annotated = AnnotatedFrames(made, annotator)
    assert annotated.on_device
    for _ in range(2):
        found = [(frames.copy(), annotation) for frames, annotation in annotated.draw_all(batches([4, 4, 4]))]
        readings = [annotation for _, annotation in found if annotation is not None]
        check(np.concatenate([frames for frames, _ in found]), Annotation.join(readings))
    assert annotated.on_device == trusted
    error = capsys.readouterr().err
    assert error.count("the device differs: probabilities by") == (0 if trusted else 1)
    seconds = annotator.seconds
    list(annotated.draw_all(batches([4])))
    assert (annotator.seconds == seconds) == trusted  # then the CPU reads nothing any more
    made.close()


def test_nan_is_a_difference(read_bundle: Path) -> None:
    read = Annotator.open(read_bundle, read_manifest(read_bundle), "fp32").annotate(expected_frames(conditions(2), 1))
    assert difference(read, read) is None
    assert "numbers by nan" in str(difference(read._replace(numbers=read.numbers * np.nan), read))


def test_frames_of_an_engine_are_read_by_the_annotators_engine(
    own_read_bundle: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install()
    add_engine(own_read_bundle, plan(onnx_of(own_read_bundle), PROFILE))
    with Generator.open(own_read_bundle, "trt") as generator:
        assert "annotator" not in generator.details()  # there is no engine of it yet
        expected = next(generator.stream([{}], seed=SEED))
    add_annotator(own_read_bundle)
    trt = install()
    with Generator.open(own_read_bundle, "trt") as generator:
        assert generator.details()["annotator"] == "on the device" and generator.annotator is not None
        stream = generator.stream([{}], seed=SEED)
        found = next(stream)
        seconds = generator.annotator.seconds
        others = [next(stream) for _ in range(3)]
        assert generator.annotator.seconds == seconds and all(batch.annotation is not None for batch in others)
        assert found.readings == expected.readings and np.array_equal(found.frames, expected.frames)
        stream.close()  # type: ignore[attr-defined]
    assert trt.gpu.live == 0 and capsys.readouterr().err == ""


def add_annotator(bundle: Path) -> None:
    """An engine of the annotator with the profile and target of the step graph's."""
    content = plan((bundle / "annotator.onnx").read_bytes(), PROFILE)
    manifest = read_manifest(bundle)
    (step,) = (entry for name, entry in manifest.files.items() if name.endswith(".engine"))
    name = "annotator.fp32.tensorrt.sm87.b1-4-8.engine"
    (bundle / name).write_bytes(content)
    entry = FileEntry(hashlib.sha256(content).hexdigest(), "fp32", step.extra)
    write_manifest(bundle, replace(manifest, files={**manifest.files, name: entry}))


@pytest.mark.gpu
@pytest.mark.skipif(bool(driver_problem()), reason=driver_problem() or "")
def test_the_gpu_reads_its_frames(read_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if CUDA not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no CUDA provider")
    with Generator.open(read_bundle, "cuda", batch=8) as generator:
        stream = generator.stream([{"lighting": "night"}, {}], seed=SEED)
        found = [next(stream) for _ in range(12)]
        assert generator.details()["annotator"] == "on the device", capsys.readouterr().err
        for batch in found:
            assert batch.annotation is not None
            assert difference(batch.annotation, generator.annotate(batch.frames)) is None
