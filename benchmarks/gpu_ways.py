"""Ways of drawing the same frames on a GPU: the runtime's CUDA backend, and PyTorch and diffusers in PyTorch.

    with WAYS["torch graph fp16"].open(case, batch=32) as opened:
        frames, seconds = opened.draw(vectors, seed=3)       # uint8 [32, H, W, C], and how long it took

`seconds` are those from noise in the host's memory to frames in the host's memory: drawing the noise comes before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.competitors import Frames, ddim_scheduler, run_scheduler
from contract.bundle import read_manifest
from contract.cores import cores
from contract.noise import initial_noises
from runtime import Generator

if TYPE_CHECKING:
    from torch import Tensor

    from models.checkpoint import Checkpoint

TimedDraw = Callable[[npt.NDArray[np.float32], int], tuple[Frames, float]]
"""From encoded conditions [B, D] and a seed to frames uint8 [B, H, W, C] and seconds."""

COMPILE_MODES = {"compile": None, "compile reduce-overhead": "reduce-overhead"}
"""What `torch.compile` is asked for."""

BEFORE_CAPTURE = 3
"""Runs before a CUDA graph is captured, as PyTorch's documentation asks: libraries set themselves up in the first."""


@dataclass(frozen=True)
class Case:
    """What is drawn, and where."""

    bundle: Path
    checkpoint: Path
    """The one that the bundle was exported from."""
    device: str = "cuda"
    """Or `cpu`, for ways that need no CUDA graph."""


class Opened(NamedTuple):
    """A way that is ready to draw."""

    draw: TimedDraw
    details: Callable[[], dict[str, Any]] = dict
    """What it says of itself once it has drawn."""


@dataclass(frozen=True)
class Way:
    """One way of drawing the frames."""

    name: str
    precision: str
    """`fp32`, `fp16`, `int8`, or `tf32`: fp32 whose products are rounded to ten bits, ONNX Runtime's default."""
    open: Callable[[Case, int], AbstractContextManager[Opened]]


@contextmanager
def _ours(case: Case, batch: int, precision: str) -> Iterator[Opened]:
    """The runtime, as `from runtime import Generator` gives it."""
    options: dict[str, Any] = {"backend": case.device, "precision": precision, "batch": batch, "annotator": "off"}
    with Generator.open(case.bundle, **options) as generator:

        def draw(vectors: npt.NDArray[np.float32], seed: int) -> tuple[Frames, float]:
            before = generator.engine_seconds
            frames = generator.generate(vectors, seed=seed)
            return frames, generator.engine_seconds - before

        yield Opened(draw, generator.details)


@contextmanager
def _torch(case: Case, batch: int, precision: str, how: str, scheduler: bool = False) -> Iterator[Opened]:
    """The network as it is (`eager`), compiled, or all steps of a batch as one CUDA graph (`graph`)."""
    import torch

    from models.checkpoint import read_checkpoint
    from models.diffusion import sample, to_frames

    checkpoint, manifest = read_checkpoint(case.checkpoint), read_manifest(case.bundle)
    sampler, shape = manifest.sampler, tuple(manifest.image)
    layout = torch.contiguous_format if precision == "fp32" else torch.channels_last
    pinned = case.device == "cuda"
    host_x = torch.empty((batch, *shape), pin_memory=pinned)
    host_condition = torch.empty((batch, manifest.schema.width), pin_memory=pinned)
    host_frames = torch.empty((batch, *shape[1:], shape[0]), dtype=torch.uint8, pin_memory=pinned)
    x = torch.zeros((batch, *shape), device=case.device).contiguous(memory_format=layout)
    condition = torch.zeros((batch, manifest.schema.width), device=case.device)
    predict = _prediction(checkpoint, case.device, precision, how)
    stepper = ddim_scheduler(checkpoint.diffusion, sampler.steps) if scheduler else None

    def run() -> Tensor:
        if stepper is None:
            return sample(predict, sampler, x, condition)[1]
        return to_frames(run_scheduler(stepper, predict, x, condition))

    with _float32_products(tf32=precision != "fp32"), torch.no_grad():
        draw_frames = _captured(run) if how == "graph" else run

        def draw(vectors: npt.NDArray[np.float32], seed: int) -> tuple[Frames, float]:
            noise = initial_noises(seed, range(batch), shape, threads=cores())  # as the runtime does with a GPU
            started = time.perf_counter()
            host_x.copy_(torch.from_numpy(noise))
            host_condition.copy_(torch.from_numpy(vectors))
            x.copy_(host_x, non_blocking=True)
            condition.copy_(host_condition, non_blocking=True)
            host_frames.copy_(draw_frames(), non_blocking=True)
            if case.device == "cuda":
                torch.cuda.synchronize()
            return host_frames.numpy().copy(), time.perf_counter() - started

        try:
            yield Opened(draw)
        finally:
            torch.compiler.reset()


def _prediction(checkpoint: Checkpoint, device: str, precision: str, how: str) -> Any:
    """The network as the samplers call it: from x, timesteps and condition to a prediction in float32."""
    import torch

    layout = torch.contiguous_format if precision == "fp32" else torch.channels_last
    network: Any = checkpoint.network().eval()
    call = network = network.to(device, memory_format=layout)
    replayed = how == "compile reduce-overhead"
    if how in COMPILE_MODES:
        call = torch.compile(network, dynamic=False, mode=COMPILE_MODES[how])

    def predict(x: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        if replayed:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        # Weights that autocast keeps would be freed behind a graph's back.
        with torch.autocast(device, torch.float16, enabled=precision == "fp16", cache_enabled=how != "graph"):
            found: Tensor = call(x, times, condition).float()
        return found.clone() if replayed else found  # the next step writes to the same memory

    predict.null_condition = network.null_condition  # type: ignore[attr-defined]
    return predict


@contextmanager
def _float32_products(tf32: bool) -> Iterator[None]:
    """Whether float32 products may be rounded to TF32; and cuDNN takes the fastest convolutions that it finds."""
    from torch import backends

    before = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark
    backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark = tf32, tf32, True
    try:
        yield
    finally:
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32, backends.cudnn.benchmark = before


def _captured(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """The same from a CUDA graph: launched at once, and always the same memory."""
    import torch

    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        for _ in range(BEFORE_CAPTURE):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        frames = run()

    def replay() -> Tensor:
        graph.replay()
        return frames

    return replay


def _all() -> Iterator[Way]:
    for precision in ("fp16", "fp32", "int8"):
        rounded = "tf32" if precision == "fp32" else precision  # what ONNX Runtime makes of it
        yield Way(f"ours cuda {precision}", rounded, partial(_ours, precision=precision))
    for how, precision in (
        ("eager", "fp32"),
        ("eager", "tf32"),
        ("eager", "fp16"),
        ("graph", "tf32"),
        ("graph", "fp16"),
    ):
        yield Way(f"torch {how} {precision}", precision, partial(_torch, precision=precision, how=how))
    for how, precision in (("compile", "fp32"), ("compile", "fp16"), ("compile reduce-overhead", "fp16")):
        yield Way(f"torch {how} {precision}", precision, partial(_torch, precision=precision, how=how))
    for how in ("eager", "compile"):
        made = partial(_torch, precision="fp16", how=how, scheduler=True)
        yield Way(f"diffusers {how} fp16", "fp16", made)


WAYS = {way.name: way for way in _all()}
"""By name."""
