"""ONNX Runtime on the CPU: a session of one thread that every core runs by itself.

    backend = open_cpu(Path("bundle"), manifest, "step.fp32.onnx")

Frames don't depend on how a batch is divided; one that can't be divided about evenly is drawn by all cores
together.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.bundle import Manifest
from contract.cores import cores
from runtime.backends.cpu_pool import CpuPool, Frames, Job
from runtime.backends.onnx_interface import Batches, graph_of
from runtime.backends.ort import CPU, OnnxBackend, import_onnxruntime, new_session

EVEN = 0.75
"""Share of the cores' time that a batch has to fill to be divided: 8 frames on 7 cores would leave 6 of them idle
half the time."""


def check_cpu() -> None:
    """Unavailable without onnxruntime."""
    import_onnxruntime("cpu")


def open_cpu(folder: Path, manifest: Manifest, file: str) -> CpuOnnxBackend:
    """Open a step graph on the CPU; Unavailable without onnxruntime, Refused where the file isn't what it should be."""
    return CpuOnnxBackend(import_onnxruntime("cpu"), folder, manifest, file, CPU, "cpu")


class CpuOnnxBackend(OnnxBackend):
    """A session of one thread for shares, and one of all threads that opens when it is needed."""

    def __init__(self, ort: Any, folder: Path, manifest: Manifest, file: str, provider: str, device: str) -> None:
        self._pool = CpuPool(cores())
        self._opened = folder, manifest, file
        self._together: Any = None
        super().__init__(ort, folder, manifest, file, provider, device)

    @property
    def seconds(self) -> float:
        """Time spent inside the engine so far."""
        return self._pool.seconds

    def close(self) -> None:
        """Free the sessions and their memory."""
        self._pool.close()
        self._together = None
        super().close()

    def sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Frames:
        """Run all K steps from noise [B, C, H, W], which may be overwritten, under condition [B, D]."""
        return next(self.sample_all([(x, condition)]))

    def sample_all(self, batches: Batches) -> Iterator[Frames]:
        """The frames of each batch in order; the next one is under way while the caller handles a batch."""
        return self._pool.draw(self._jobs(x, condition) for x, condition in batches)

    def _open(self, content: bytes, provider: str) -> Any:
        return new_session(self._ort, content, provider, threads=1)

    def _jobs(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> list[Job]:
        """A share for each core, or the whole batch for all of them."""
        workers = self._pool.workers
        if not self._alone(len(x)):
            return [partial(self._draw, workers > 1, x, condition)]
        parts = zip(np.array_split(x, workers), np.array_split(condition, workers), strict=True)
        return [partial(self._draw, False, *part) for part in parts]

    def _alone(self, rows: int) -> bool:
        """Whether each core gets a share of its own."""
        workers = self._pool.workers
        share = -(-rows // workers)
        return workers > 1 and rows >= workers and rows >= EVEN * share * workers

    def _draw(self, together: bool, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Frames:
        if together and self._together is None:
            self._together = new_session(self._ort, graph_of(*self._opened), CPU)
        session = self._together if together else self._session
        frames: Frames = self._errors(lambda: self._loop(session, x, condition))
        return frames
