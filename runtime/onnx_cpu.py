"""ONNX Runtime on the CPU: each core draws its own share of a batch.

    backend = open_cpu(Path("bundle"), manifest, "step.fp32.onnx")

Threads that share every operator wait for each other a few hundred times a step, and all but one are idle in operators
too small to be shared. A core with frames of its own waits for nobody. Frames don't depend on how they are shared out;
a batch that can't be shared out about evenly is drawn by all cores together.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contract.bundle import Manifest, open_checked
from contract.errors import UsageError
from runtime.onnx_backend import CPU, Batches, OnnxBackend, import_onnxruntime, new_session

EVEN = 0.75
"""How much of the cores' time a batch has to fill to be shared out: 8 frames on 7 cores would leave 6 of them idle
for half of it."""


def check_cpu() -> None:
    """Unavailable without onnxruntime."""
    import_onnxruntime("cpu")


def open_cpu(folder: Path, manifest: Manifest, file: str) -> CpuOnnxBackend:
    """Open a step graph on the CPU; Unavailable without onnxruntime, Refused where the file isn't what it should be."""
    return CpuOnnxBackend(import_onnxruntime("cpu"), folder, manifest, file, CPU, "cpu")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Drawn(NamedTuple):
    """What one core made of its share, and when."""

    frames: npt.NDArray[np.uint8]
    began: float
    ended: float


class CpuOnnxBackend(OnnxBackend):
    """A session of one thread that every core runs by itself, and one of all threads that opens when it is needed."""

    def __init__(self, ort: Any, folder: Path, manifest: Manifest, file: str, provider: str, device: str) -> None:
        self._cores = cores()
        self._opened = folder, manifest, file
        self._together: Any = None
        self._workers: ThreadPoolExecutor | None = None
        self._closed, self._counted = False, 0.0
        super().__init__(ort, folder, manifest, file, provider, device)

    def close(self) -> None:
        """Free the sessions and their memory."""
        self._closed = True
        if self._workers:
            self._workers.shutdown(cancel_futures=True)
        self._together, self._workers = None, None
        super().close()

    def sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Run all K steps from noise [B, C, H, W], which they may write over, under condition [B, D]."""
        return next(self.sample_all([(x, condition)]))

    def sample_all(self, batches: Batches) -> Iterator[npt.NDArray[np.uint8]]:
        """The frames of each batch in order; the next one is under way while a batch is taken care of."""
        ahead: deque[list[Future[Drawn]]] = deque()
        source = iter(batches)
        try:
            while True:
                try:
                    x, condition = next(source)
                except StopIteration:
                    break
                except BaseException:
                    yield from (self._joined(ahead.popleft()) for _ in range(len(ahead)))
                    raise
                self._check_open()
                if self._alone(len(x)):
                    ahead.append(self._share_out(x, condition))
                    if len(ahead) > 1:
                        yield self._joined(ahead.popleft())
                    continue
                yield from (self._joined(ahead.popleft()) for _ in range(len(ahead)))
                yield super().sample(x, condition)
            yield from (self._joined(ahead.popleft()) for _ in range(len(ahead)))
        finally:
            for future in (future for futures in ahead for future in futures):
                future.cancel()

    def _open(self, content: bytes, provider: str) -> Any:
        return new_session(self._ort, content, provider, threads=1 if self._cores > 1 else 0)

    def _sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Any:
        """A small batch, by all cores together."""
        self._check_open()
        if self._cores > 1 and self._together is None:
            self._together = new_session(self._ort, open_checked(*self._opened), CPU)
        return self._loop(self._together or self._session, x, condition)

    def _alone(self, rows: int) -> bool:
        """Whether each core gets a share of its own."""
        share = -(-rows // self._cores)
        return self._cores > 1 and rows >= self._cores and rows >= EVEN * share * self._cores

    def _share_out(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> list[Future[Drawn]]:
        """Give each core its share of a batch."""
        if self._workers is None:
            self._workers = ThreadPoolExecutor(self._cores, "core")
        shares = zip(np.array_split(x, self._cores), np.array_split(condition, self._cores), strict=True)
        return [self._workers.submit(self._timed, *share) for share in shares]

    def _timed(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Drawn:
        began = time.perf_counter()
        frames = self._guarded(lambda: self._loop(self._session, x, condition))
        return Drawn(frames, began, time.perf_counter())

    def _joined(self, futures: list[Future[Drawn]]) -> npt.NDArray[np.uint8]:
        """Wait for the frames of a batch; time in which several batches are drawn counts once."""
        self._check_open()
        parts = [future.result() for future in futures]
        ended = max(part.ended for part in parts)
        self.seconds += max(0.0, ended - max(self._counted, min(part.began for part in parts)))
        self._counted = max(self._counted, ended)
        return np.concatenate([part.frames for part in parts])

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the generator is closed; open it again")
