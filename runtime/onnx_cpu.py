"""ONNX Runtime on the CPU: each core draws its own share of a batch.

    backend = open_cpu(Path("bundle"), manifest, "step.fp32.onnx")

Threads that share every operator wait for each other a few hundred times a step, and the second one is idle in
operators too small to be shared. A core with frames of its own waits for nobody. Frames don't depend on how they are
shared out; a batch smaller than the number of cores is drawn by all cores together.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.bundle import Manifest, open_checked
from runtime.onnx_backend import CPU, OnnxBackend, import_onnxruntime, new_session


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
            self._workers.shutdown()
        self._alone, self._workers = None, None
        super().close()

    def _sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Any:
        if self._cores == 1 or len(x) < self._cores:
            return super()._sample(x, condition)
        if self._workers is None:
            self._alone = new_session(self._ort, open_checked(*self._opened), CPU, threads=1)
            self._workers = ThreadPoolExecutor(self._cores, "core")
        shares = zip(np.array_split(x, self._cores), np.array_split(condition, self._cores), strict=True)
        parts = [self._workers.submit(self._loop, self._alone, *share) for share in shares]
        return np.concatenate([part.result() for part in parts])
