"""The fake bundle's step graph in torch, on plain addresses, so that the GPU loop runs on a GPU without TensorRT.

engine = TorchStepEngine(BatchProfile(1, 4, 8))                   # on the GPU, on the driver's own streams
engine = TorchStepEngine(BatchProfile(1, 4, 8), on=host_gpu)      # the same on the host, as the HostGpu queues it
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from contract.engine import BatchProfile
from contract.schedule import ddim_coefficients
from contract.schemas import CABIN
from tests.fake_bundle import IMAGE, MIX, STEPS, fake_sampler, paint
from tests.runtime.host_gpu import HostGpu

TYPES = {"<f4": torch.float32, "<i8": torch.int64, "|u1": torch.uint8}


class TorchStepEngine:
    """An engine of the GPU loop; one context is its number of rows."""

    def __init__(self, profile: BatchProfile, on: HostGpu | None = None) -> None:
        self.profile, self.step_on_host, self._host = profile, False, on
        device, sampler = "cpu" if on else "cuda", fake_sampler(STEPS)
        table = ddim_coefficients(np.asarray(sampler.alpha_bar), sampler.prediction)
        self._table = torch.tensor(np.asarray(table), dtype=torch.float32, device=device)
        self._paint = torch.tensor(paint(CABIN.width, IMAGE), dtype=torch.float32, device=device)[None]
        self._views: dict[tuple[int, tuple[int, ...]], torch.Tensor] = {}

    def context(self, rows: int) -> int:
        return rows

    def step(self, context: int, addresses: Mapping[str, int], stream: int) -> None:
        channels, height, width = IMAGE
        x_shape, frame_shape = (context, channels, height, width), (context, height, width, channels)
        view = lambda name, shape, kind="<f4": self._view(addresses[name], shape, kind)  # noqa: E731
        x, x_next, frame = view("x", x_shape), view("x_next", x_shape), view("frame", frame_shape, "|u1")
        condition, step = view("condition", (context, CABIN.width)), view("step", (1,), "<i8")

        def run() -> None:
            a, b, c, d = self._table.index_select(0, step)[0]
            painted = torch.tanh((condition[:, :, None, None, None] * self._paint).sum(1))
            blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1)  # edges count as zero, as in the graph
            x0 = (a * x + b * (painted + MIX * (blurred - painted))).clamp(-1, 1)
            x_next.copy_(c * x + d * x0)
            frame.copy_(((x0 + 1) * 127.5).round().permute(0, 2, 3, 1))

        self._queue(run, stream)

    def capturable(self, context: int, stream: int) -> bool:
        return True

    def close(self) -> None:
        self._views.clear()

    def _queue(self, run: Callable[[], None], stream: int) -> None:
        if self._host:
            self._host.put(self._host.streams[stream - 1], run)
            return
        with torch.no_grad(), torch.cuda.stream(torch.cuda.ExternalStream(stream)):
            run()

    def _view(self, address: int, shape: tuple[int, ...], kind: str) -> torch.Tensor:
        """The memory there as a tensor; made once, so that a capture finds it made."""
        if (address, shape) not in self._views:
            made = _on_host(address, shape, kind) if self._host else _on_gpu(address, shape, kind)
            self._views[address, shape] = made
        return self._views[address, shape]


def _on_host(address: int, shape: tuple[int, ...], kind: str) -> torch.Tensor:
    nbytes = int(np.prod(shape)) * np.dtype(kind).itemsize
    array = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
    return torch.from_numpy(array).view(TYPES[kind]).reshape(shape)


@dataclass(frozen=True)
class Block:
    """Memory of the device as torch takes it: numba's CUDA array interface."""

    __cuda_array_interface__: dict[str, Any]


def _on_gpu(address: int, shape: tuple[int, ...], kind: str) -> torch.Tensor:
    block = Block({"data": (address, False), "shape": shape, "typestr": kind, "version": 2})
    return torch.as_tensor(block, device="cuda")
