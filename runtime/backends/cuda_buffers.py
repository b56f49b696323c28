"""What a batch owns on a GPU: buffers and a context for each size, transfer buffers for each batch in flight."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends.cuda import HostMemory, Memory
from runtime.backends.cuda_graph_choice import GraphChoice

EVENTS = {"uploaded": False, "started": True, "stopped": True, "computed": False, "done": False}
"""The events of one batch in flight, and whether the time is taken."""


@dataclass
class TransferBuffers:
    """Where one batch in flight comes from and goes to; each size has two, used in turn."""

    host: dict[str, HostMemory]
    """x, condition and frame in pinned memory"""

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
    """x in two buffers (x0, x1), condition, frame"""

    lanes: deque[TransferBuffers]
    owned: contextlib.ExitStack
    choice: GraphChoice = field(default_factory=GraphChoice)
    graph: Any = None


@dataclass(frozen=True)
class InFlight:
    """A piece of a batch in flight."""

    size: BatchState
    lane: TransferBuffers
    way: str
    frames: npt.NDArray[np.uint8]
    """where its frames belong"""
