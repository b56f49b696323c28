"""ONNX Runtime on the CPU: each core draws its own share of a batch.

    backend = open_cpu(Path("bundle"), manifest, "step.fp32.onnx")

Threads that share every operator wait for each other a few hundred times a step, and the second one is idle in
operators too small to be shared. A core with frames of its own waits for nobody. Frames don't depend on how they are
shared out; a batch smaller than the number of cores is drawn by all cores together.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from contract.bundle import Manifest, open_checked
from runtime.onnx_backend import CPU, Batches, OnnxBackend, import_onnxruntime, new_session

_Batch: TypeAlias = "list[Future[tuple[npt.NDArray[np.uint8], float]]]"


def check_cpu() -> None:
    """Unavailable without onnxruntime."""
    import_onnxruntime("cpu")


def open_cpu(folder: Path, manifest: Manifest, file: str) -> CpuOnnxBackend:
    """Open a step graph on the CPU; Unavailable without onnxruntime, Refused where the file isn't what it should be."""
    return CpuOnnxBackend(import_onnxruntime("cpu"), folder, manifest, file, CPU, "cpu")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class CpuOnnxBackend(OnnxBackend):
    """One session whose threads share a small batch, one that each core runs by itself on its share of a large one."""

    def __init__(self, ort: Any, folder: Path, manifest: Manifest, file: str, provider: str, device: str) -> None:
        super().__init__(ort, folder, manifest, file, provider, device)
        self._cores = cores()
        self._opened = folder, manifest, file
        self._alone: Any = None
        self._workers: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Free the sessions and their memory."""
        if self._workers:
            self._workers.shutdown(cancel_futures=True)
        self._alone, self._workers = None, None
        super().close()

    def sample_all(self, batches: Batches) -> Iterator[npt.NDArray[np.uint8]]:
        """The frames of each batch in order; the next one is under way while a batch is taken care of."""
        ahead: deque[_Batch] = deque()
        for x, condition in batches:
            if self._cores == 1 or len(x) < self._cores:
                yield from (self._joined(ahead.popleft()) for _ in range(len(ahead)))
                yield self.sample(x, condition)
                continue
            ahead.append(self._share_out(x, condition))
            if len(ahead) > 1:
                yield self._joined(ahead.popleft())
        yield from (self._joined(ahead.popleft()) for _ in range(len(ahead)))

    def sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Run all K steps from noise [B, C, H, W], which they may write over, under condition [B, D]."""
        if self._cores == 1 or len(x) < self._cores:
            return super().sample(x, condition)
        return self._joined(self._share_out(x, condition))

    def _share_out(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> _Batch:
        """Give each core its share of a batch."""
        if self._workers is None:
            content = open_checked(*self._opened)
            self._alone = self._guarded(lambda: new_session(self._ort, content, CPU, threads=1))
            self._workers = ThreadPoolExecutor(self._cores, "core")
        shares = zip(np.array_split(x, self._cores), np.array_split(condition, self._cores), strict=True)
        return [self._workers.submit(self._timed, *share) for share in shares]

    def _timed(
        self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.uint8], float]:
        started = time.perf_counter()
        frames = self._guarded(lambda: self._loop(self._alone, x, condition))
        return frames, time.perf_counter() - started

    def _joined(self, batch: _Batch) -> npt.NDArray[np.uint8]:
        """Wait for the frames of a batch; its time is that of the core that took longest."""
        parts = [part.result() for part in batch]
        self.seconds += max(seconds for _, seconds in parts)
        return np.concatenate([frames for frames, _ in parts])
