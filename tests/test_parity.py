"""Every engine draws what torch draws: the same conditions and noise, at batch sizes that pad, split and repeat.

One row of ENGINES for each way from a bundle to frames. An engine that this machine lacks is skipped with the reason.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch

from contract.bundle import Manifest, open_checked, read_manifest
from contract.engine import BatchProfile, engine_files
from contract.errors import Unavailable
from contract.frames import Frames, ImageShape, to_frames
from contract.gpu import gpu_target
from contract.noise import initial_noises
from contract.parity import compare, gates_of, read_reference
from export.__main__ import main as export
from export.trt import main as export_trt
from models.checkpoint import read_checkpoint, write_checkpoint
from models.diffusion import ddim
from runtime.backends.cuda_loop import GpuPipeline
from runtime.backends.ort_cuda import CudaOnnxBackend
from runtime.backends.registry import Backend, Request, open_backend
from tests.export.calm_checkpoint import calm_checkpoint
from tests.runtime.host_gpu import HostGpu, OrtStepEngine
from tests.tensorrt_here import tensorrt_problem

BATCHES = {8: 32, 1: 3, 3: 9, 5: 10}
"""Batch size: conditions drawn at it. With the profile below, 1 is padded, 8 is split, 3 and 5 are neither."""

PROFILE = BatchProfile(2, 4, 5)

VARIED = 20
"""Standard deviation over all pixels, of 255, below which any engine would agree with any other."""

Sample = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], Frames]
Engine = Callable[[Path, Manifest, str], Iterator[Sample]]


def in_torch(bundle: Path, manifest: Manifest, file: str) -> Iterator[Sample]:
    checkpoint = read_checkpoint(bundle.parent / "calm.pt")
    network, sampler = checkpoint.network(), manifest.sampler

    def sample(x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Frames:
        settings = (sampler.timesteps, sampler.guidance, sampler.clip)
        images, _ = ddim(network, checkpoint.diffusion, torch.from_numpy(x), torch.from_numpy(condition), *settings)
        return to_frames(images.numpy())

    yield sample


def on_backend(name: str) -> Engine:
    def opened(bundle: Path, manifest: Manifest, file: str) -> Iterator[Sample]:
        try:
            backend, _ = open_backend(bundle, manifest, Request(name, file=file))
        except Unavailable as error:
            pytest.skip(str(error))
        yield from _closing(backend)

    return opened


def on_cuda_bindings(bundle: Path, manifest: Manifest, file: str) -> Iterator[Sample]:
    """The CUDA provider's fixed buffers, on the CPU provider, whose frames are the very buffer, to be copied."""
    backend = CudaOnnxBackend(onnxruntime, bundle, manifest, file, "CPUExecutionProvider", "cpu")
    yield lambda x, condition: backend.sample(x, condition).copy()
    backend.close()


def on_host_gpu(bundle: Path, manifest: Manifest, file: str) -> Iterator[Sample]:
    """The loop of TensorRT engines, over streams that run as late as CUDA allows."""
    gpu, content = HostGpu(), open_checked(bundle, manifest, file)
    engine = OrtStepEngine(gpu, content, PROFILE)
    pipeline = GpuPipeline(gpu, engine, manifest.image, manifest.schema.width, manifest.sampler.steps)
    yield pipeline.sample
    pipeline.close()


def in_tensorrt(bundle: Path, manifest: Manifest, file: str) -> Iterator[Sample]:
    """An engine that is built here, on the GPU of this machine."""
    if problem := tensorrt_problem():
        pytest.skip(problem)
    precision = str(manifest.files[file].precision)
    own = Path(shutil.copytree(bundle, bundle.parent / f"trt-{precision}"))
    assert export_trt([str(own), "--precision", precision, "--batch", str(PROFILE), "--target", str(gpu_target())]) == 0
    manifest = read_manifest(own)
    yield from on_backend("trt")(own, manifest, engine_files(manifest, precision)[0])


def _closing(backend: Backend) -> Iterator[Sample]:
    yield backend.sample
    backend.close()


ENGINES: dict[str, tuple[Engine, str]] = {
    "torch": (in_torch, "step.fp32.onnx"),
    "onnxruntime fp32": (on_backend("cpu"), "step.fp32.onnx"),
    "onnxruntime fp16": (on_backend("cpu"), "step.fp16.onnx"),
    "onnxruntime int8": (on_backend("cpu"), "step.int8.onnx"),
    "openvino fp32": (on_backend("openvino"), "step.fp32.onnx"),
    "openvino fp16": (on_backend("openvino"), "step.fp16.onnx"),
    "openvino int8": (on_backend("openvino"), "step.int8.onnx"),
    "cuda bindings": (on_cuda_bindings, "step.fp32.onnx"),
    "gpu loop fp32": (on_host_gpu, "step.fp32.onnx"),
    "gpu loop int8": (on_host_gpu, "step.int8-trt.onnx"),
    "cuda": (on_backend("cuda"), "step.fp32.onnx"),
    "tensorrt fp32": (in_tensorrt, "step.fp32.onnx"),
    "tensorrt fp16": (in_tensorrt, "step.fp16.onnx"),
    "tensorrt int8": (in_tensorrt, "step.int8-trt.onnx"),
}


def agree(bundle: Path, engine: Engine, file: str) -> None:
    manifest = read_manifest(bundle)
    reference = read_reference(bundle, manifest)
    assert reference.frames.std() > VARIED
    with contextmanager(engine)(bundle, manifest, file) as sample:

        def draw(rows: npt.NDArray[np.int64], size: int) -> Frames:
            drawn = []
            for chosen in np.split(rows, len(rows) // size):
                noise = initial_noises(reference.seed, chosen.tolist(), tuple(manifest.image))
                drawn.append(sample(noise, reference.conditions[chosen]))
            return np.concatenate(drawn)

        comparison = compare(draw, reference, BATCHES, gates_of(manifest.files[file].precision))
    assert comparison.faults == []


ON_GPU = ("cuda", "tensorrt fp32", "tensorrt fp16", "tensorrt int8")
ROWS = [pytest.param(*row, id=name, marks=[pytest.mark.gpu] * (name in ON_GPU)) for name, row in ENGINES.items()]


@pytest.mark.parametrize(("engine", "file"), ROWS)
def test_every_engine_draws_torch_s_frames(calm_bundle: Path, engine: Engine, file: str) -> None:
    agree(calm_bundle, engine, file)


@pytest.fixture(scope="module")
def near_infrared_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of one channel that aren't square."""
    folder = tmp_path_factory.mktemp("odd")
    write_checkpoint(folder / "calm.pt", calm_checkpoint(channels=1, size=(16, 32)))
    assert export([str(folder / "calm.pt"), "-o", str(folder / "b"), "--precision", "fp32", "fp16", "int8"]) == 0
    return folder / "b"


@pytest.mark.parametrize("name", ["torch", "onnxruntime fp32", "onnxruntime int8", "openvino fp32", "gpu loop fp32"])
def test_images_of_one_channel_that_are_not_square(near_infrared_bundle: Path, name: str) -> None:
    manifest = read_manifest(near_infrared_bundle)
    assert manifest.image == ImageShape(1, 16, 32) and len(manifest.parity) == 4
    agree(near_infrared_bundle, *ENGINES[name])
