"""What is measured: the runtime's own backends, and its peers with the same weights.

    with CONTENDERS["ours fp32"].open(setting, batch=8) as draw:
        frames = draw(vectors, seed=3)                       # uint8 [8, H, W, C]

Each draws its own noise and returns uint8 frames. Libraries are imported where they are used, so that a process
that measures one of them loads none of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.fixtures import BATCHES, COMPARED, Setting, cpu_backend
from contract.cores import cores
from contract.frames import psnr, squared_errors
from contract.noise import initial_noises
from runtime import Generator
from runtime.backends.ov import import_openvino

Frames = npt.NDArray[np.uint8]
Draw = Callable[[npt.NDArray[np.float32], int], Frames]
"""From encoded conditions [B, D] and a seed to frames uint8 [B, H, W, C]."""

EXACT, CLOSE_DB = 1, 30.0
"""In fp32 frames differ by at most one level anywhere; lower precisions keep this PSNR."""


@dataclass(frozen=True)
class Contender:
    """One way of drawing the student's frames."""

    name: str
    open: Callable[[Setting, int], AbstractContextManager[Draw]]
    precision: str = "fp32"
    batches: tuple[int, ...] = COMPARED

    @property
    def own(self) -> bool:
        return self.name.startswith("ours")


@contextmanager
def _ours(setting: Setting, batch: int, backend: str, precision: str, bundle: str | None = None) -> Iterator[Draw]:
    """The runtime, as `from runtime import Generator` gives it."""
    where = bundle or setting.bundle
    with Generator.open(where, backend=backend, precision=precision, batch=batch, annotator="off") as generator:
        yield lambda vectors, seed: generator.generate(vectors, seed=seed)


def _noise(vectors: npt.NDArray[np.float32], seed: int, size: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    return initial_noises(seed, range(len(vectors)), size)


@contextmanager
def _torch(
    setting: Setting,
    batch: int,
    compiled: bool,
    channels_last: bool,
    frozen: bool = False,
    scheduler: bool = False,
    half: bool = False,
) -> Iterator[Draw]:
    """PyTorch: the project's reference sampler, or diffusers' DDIM scheduler, around the network."""
    import torch

    from models.diffusion import ddim, to_frames

    checkpoint = _student(setting.student)
    config, timesteps = checkpoint.config, checkpoint.sampler.timesteps
    assert timesteps is not None
    layout = torch.channels_last if channels_last else torch.contiguous_format
    null, network = _network(setting.student, compiled, channels_last, frozen, half)

    def predict(x: Any, times: Any, condition: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return network(x, times, condition).float()

    predict.null_condition = null  # type: ignore[attr-defined]
    stepper = ddim_scheduler(checkpoint.diffusion, len(timesteps)) if scheduler else None

    def draw(vectors: npt.NDArray[np.float32], seed: int) -> Frames:
        size = tuple(config.image)
        with torch.inference_mode():
            x = torch.from_numpy(_noise(vectors, seed, size)).contiguous(memory_format=layout)
            condition = torch.from_numpy(vectors)
            if stepper is None:
                _, frames = ddim(predict, checkpoint.diffusion, x, condition, timesteps)  # type: ignore[arg-type]
            else:
                frames = to_frames(run_scheduler(stepper, predict, x, condition))
            return np.asarray(frames.numpy())

    try:
        yield draw
    finally:
        _network.cache_clear()
        torch._dynamo.reset()


@cache
def _student(path: str) -> Any:
    from models.checkpoint import read_checkpoint

    return read_checkpoint(path)


@cache
def _network(path: str, compiled: bool, channels_last: bool, frozen: bool, half: bool) -> tuple[Any, Any]:
    """The null condition and the network, compiled once for each way of running it, since that takes seconds.

    `frozen` lets inductor fold constants and pack weights ahead, as a network for inference alone allows.
    """
    import torch

    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = _student(path).network().to(memory_format=layout)
    if not compiled:
        return network.null_condition, network
    options = {"freezing": True} if frozen else None
    return network.null_condition, torch.compile(network, dynamic=False, options=options)


def ddim_scheduler(diffusion: Any, steps: int) -> Any:
    """diffusers' DDIM scheduler for a network that predicts x0, with the alpha-bar of `diffusion`."""
    import torch
    from diffusers import DDIMScheduler

    stepper = DDIMScheduler(
        diffusion.timesteps,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        clip_sample=True,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
    )
    stepper.alphas_cumprod = torch.from_numpy(diffusion.alpha_bar())  # its own table is float32
    stepper.set_timesteps(steps)
    return stepper


def run_scheduler(stepper: Any, predict: Callable[..., Any], x: Any, condition: Any) -> Any:
    """The final x like `x` [B, C, H, W]; `predict` takes x, timesteps int64 [B] and the condition [B, D]."""
    import torch

    for t in stepper.timesteps.tolist():
        times = torch.full((len(x),), t, dtype=torch.int64, device=x.device)
        x = stepper.step(predict(x, times, condition), t, x, use_clipped_model_output=True).prev_sample
    return x


@contextmanager
def _plain_onnx(setting: Setting, batch: int) -> Iterator[Draw]:
    """diffusers' scheduler around a plain ONNX export in ONNX Runtime, as optimum's users run it."""
    import onnxruntime
    import torch

    from models.checkpoint import read_checkpoint
    from models.diffusion import to_frames

    checkpoint = read_checkpoint(setting.student)
    config = checkpoint.config
    stepper = ddim_scheduler(checkpoint.diffusion, checkpoint.sampler.steps)
    session = onnxruntime.InferenceSession(setting.plain, providers=["CPUExecutionProvider"])

    def predict(x: Any, times: Any, condition: Any) -> Any:
        feeds = {"x": x.numpy(), "timesteps": times.numpy(), "condition": condition}
        return torch.from_numpy(session.run(None, feeds)[0])

    def draw(vectors: npt.NDArray[np.float32], seed: int) -> Frames:
        x = torch.from_numpy(_noise(vectors, seed, tuple(config.image)))
        return np.asarray(to_frames(run_scheduler(stepper, predict, x, vectors)).numpy())

    yield draw


@contextmanager
def _openvino(setting: Setting, batch: int, file: str, hint: str) -> Iterator[Draw]:
    """OpenVINO on the step graph of the bundle, step by step, for this batch size alone."""
    from contract.bundle import read_manifest

    manifest = read_manifest(setting.bundle)
    core = import_openvino().Core()
    model = core.read_model(f"{setting.bundle}/{file}")
    shape = tuple(manifest.image)
    model.reshape({"x": [batch, *shape], "condition": [batch, manifest.schema.width], "step": []})
    options = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(model, "CPU", options).create_infer_request()

    def draw(vectors: npt.NDArray[np.float32], seed: int) -> Frames:
        x = _noise(vectors, seed, shape)
        for step in range(manifest.sampler.steps):
            found = request.infer({"x": x, "condition": vectors, "step": np.array(step)}, share_inputs=True)
            x = found["x_next"]
        return np.asarray(found["frame"])

    yield draw


@contextmanager
def _openvino_streams(setting: Setting, batch: int, file: str, hint: str) -> Iterator[Draw]:
    """The same, with a stream for each core, each of which draws its own share of the batch, of a fixed size."""
    from concurrent.futures import ThreadPoolExecutor

    from contract.bundle import read_manifest

    manifest = read_manifest(setting.bundle)
    count = max(number for number in range(1, cores() + 1) if batch % number == 0)
    core = import_openvino().Core()
    model, shape = core.read_model(f"{setting.bundle}/{file}"), tuple(manifest.image)
    model.reshape({"x": [batch // count, *shape], "condition": [batch // count, manifest.schema.width], "step": []})
    options = {"INFERENCE_PRECISION_HINT": hint, "NUM_STREAMS": str(count)}
    compiled = core.compile_model(model, "CPU", options)
    requests = [compiled.create_infer_request() for _ in range(count)]

    def share(request: Any, x: Any, vectors: Any) -> Any:
        for step in range(manifest.sampler.steps):
            found = request.infer({"x": x, "condition": vectors, "step": np.array(step)}, share_inputs=True)
            x = found["x_next"]
        return np.asarray(found["frame"])

    with ThreadPoolExecutor(count) as pool:

        def draw(vectors: npt.NDArray[np.float32], seed: int) -> Frames:
            x = _noise(vectors, seed, shape)
            shares = (np.array_split(array, count) for array in (x, vectors))
            return np.concatenate(list(pool.map(share, requests, *shares)))

        yield draw


def _all() -> Iterator[Contender]:
    for label, backend, batches in (("", cpu_backend(), BATCHES), (" onnxruntime", "cpu", COMPARED)):
        for precision in ("fp32", "int8"):
            yield Contender(
                f"ours{label} {precision}", partial(_ours, backend=backend, precision=precision), precision, batches
            )
    for backend in ("cuda", "trt"):
        for precision in ("fp16", "fp32"):
            made = partial(_ours, backend=backend, precision=precision)
            yield Contender(f"ours {backend} {precision}", made, precision, BATCHES)
    for layout, last in (("", False), (" channels-last", True)):
        yield Contender(f"torch eager{layout}", partial(_torch, compiled=False, channels_last=last))
        yield Contender(f"torch compile{layout}", partial(_torch, compiled=True, channels_last=last))
    yield Contender("torch compile frozen", partial(_torch, compiled=True, channels_last=True, frozen=True))
    for half in (False, True):
        kind = "bf16" if half else "fp32"
        for name, compiled in (("eager", False), ("compile", True)):
            made = partial(_torch, compiled=compiled, channels_last=True, scheduler=True, half=half)
            yield Contender(f"diffusers {name} {kind}", made, kind)
    yield Contender("diffusers plain ONNX", _plain_onnx)
    for precision, file, hint in (
        ("fp32", "step.fp32.onnx", "f32"),
        ("bf16", "step.fp32.onnx", "bf16"),
        ("int8", "step.int8.onnx", "f32"),
    ):
        yield Contender(f"openvino {precision}", partial(_openvino, file=file, hint=hint), precision)
    for precision in ("fp32", "int8"):
        streams = partial(_openvino_streams, file=f"step.{precision}.onnx", hint="f32")
        yield Contender(f"openvino {precision} streams", streams, precision)


CONTENDERS = {contender.name: contender for contender in _all()}
"""By name; those whose backend isn't there raise Unavailable when they are opened."""


def difference(found: Frames, expected: Frames) -> dict[str, float]:
    """How far two sets of frames are apart: the largest difference in levels, and the PSNR in dB."""
    return {
        "levels": float(np.abs(found.astype(np.int16) - expected).max()),
        "psnr_db": float(psnr(squared_errors(found, expected).mean())),
    }


def same(precision: str, apart: dict[str, float]) -> bool:
    """Whether frames that differ by so much are the same at this precision."""
    return apart["levels"] <= EXACT if precision in ("fp32", "tf32") else apart["psnr_db"] >= CLOSE_DB
