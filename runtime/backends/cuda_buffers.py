"""What a batch owns on a GPU: buffers and a context for each size, transfer buffers for each batch in flight."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends.cuda import Gpu, HostMemory, Memory
from runtime.backends.cuda_graph_choice import GraphChoice

EVENTS = {"uploaded": False, "started": True, "stopped": True, "computed": False, "done": False}
"""The events of one batch in flight, and whether the time is taken."""


Shapes = Mapping[str, tuple[tuple[int, ...], type[np.generic]]]
"""Sides without the batch axis, and type, of each array."""


@dataclass
class TransferBuffers:
    """Where one batch in flight comes from and goes to; each size has two, used in turn."""

    host: dict[str, HostMemory]
    """x, condition, frame and what is read from it, in pinned memory"""

    staging: dict[str, int]
    """their addresses on the device; on an integrated GPU those of the pinned memory"""

    uploaded: Any
    started: Any
    stopped: Any
    computed: Any
    done: Any

    def fill(self, **arrays: npt.NDArray[np.float32]) -> None:
        """Rows that the batch doesn't have are zero."""
        for name, array in arrays.items():
            self.host[name].array[: len(array)] = array
            self.host[name].array[len(array) :] = 0


@dataclass
class BatchState:
    """What belongs to one batch size."""

    context: Any
    memory: dict[str, Memory]
    """x in two buffers (x0, x1), condition, frame, and what is read from it"""

    lanes: deque[TransferBuffers]
    owned: contextlib.ExitStack
    choice: GraphChoice = field(default_factory=GraphChoice)
    graph: Any = None
    reading: Any = None
    """The annotator's context, where there is one."""


@dataclass(eq=False)
class InFlight:
    """A piece of a batch in flight."""

    size: BatchState
    lane: TransferBuffers
    way: str
    results: Mapping[str, npt.NDArray[Any]]
    """where its frames, and what is read from them, belong"""
    landed: bool = False
    """Whether they are there."""


def allocate(gpu: Gpu, owned: contextlib.ExitStack, rows: int, shapes: Shapes, name: str) -> Memory:
    """Device memory for that array of a batch, freed with `owned`."""
    sides, dtype = shapes[name]
    memory = gpu.memory(rows * int(np.prod(sides)) * np.dtype(dtype).itemsize)
    owned.callback(gpu.free, memory)
    return memory


def open_lane(gpu: Gpu, owned: contextlib.ExitStack, rows: int, shapes: Shapes) -> TransferBuffers:
    """The transfer buffers and events of one batch in flight, freed with `owned`."""
    host = {}
    for name, (sides, dtype) in shapes.items():
        host[name] = gpu.pinned((rows, *sides), dtype)
        owned.callback(gpu.free, host[name])
    if gpu.device.integrated:
        staging = {name: memory.address for name, memory in host.items()}
    else:
        staging = {name: allocate(gpu, owned, rows, shapes, name).address for name in host}
    events = {name: gpu.event(timed) for name, timed in EVENTS.items()}
    for event in events.values():
        owned.callback(gpu.free_event, event)
    return TransferBuffers(host, staging, **events)
