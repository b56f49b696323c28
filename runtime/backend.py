"""What an inference engine has to offer, the table of those there are, and which one runs.

    backend, why = open_backend("bundle", manifest, "auto", "auto")
    frames = backend.sample(noise, condition)

A backend that was asked for by name and isn't there is an error; only `auto` goes on to the next row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from contract.bundle import Manifest
from contract.errors import Unavailable
from runtime import onnx_backend

AUTO = "auto"


class Backend(Protocol):
    """One opened step graph or engine, and the loop over its K steps."""

    seconds: float
    """Time spent inside the engine so far."""

    def sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Run all K steps from noise [B, C, H, W] under condition [B, D]; frames uint8 [B, H, W, C]."""

    def close(self) -> None:
        """Give back what the engine holds; the backend can't be used afterwards."""


@dataclass(frozen=True)
class Row:
    """One row of the table of backends."""

    find: Callable[[Manifest, str], str | None]
    """Name of the bundle's file for a precision, None where it has none that this backend runs."""

    open: Callable[[Path, Manifest, str], Backend]
    """Open that file; Unavailable where this machine can't run it."""

    precisions: tuple[str, ...]
    """What `auto` takes, the first that the bundle has."""

    batch: int
    """Frames a call by default, for frames of up to 128 x 128."""


BACKENDS = {
    "cuda": Row(onnx_backend.find, onnx_backend.open_cuda, ("fp16", "fp32"), 32),
    "cpu": Row(onnx_backend.find, onnx_backend.open_cpu, ("fp32", "int8", "fp16"), 8),
}
"""Every backend, in the order in which `auto` tries them. On a CPU `auto` prefers fp32: fp16 is emulated there,
and int8 is for those who ask for it."""


@dataclass(frozen=True)
class Choice:
    """Which backend, precision and file were chosen, and why."""

    backend: str
    precision: str
    file: str
    reason: str


def open_backend(folder: Path, manifest: Manifest, backend: str, precision: str) -> tuple[Backend, Choice]:
    """Open the backend of that name, or with `auto` the first that works here.

    Raises Unavailable with the reason and what mends it, for `auto` with the reason of every row.
    """
    if backend not in (AUTO, *BACKENDS):
        raise Unavailable(f"backend {backend}: expected one of {', '.join((AUTO, *BACKENDS))}")
    reasons: list[str] = []
    for name in BACKENDS if backend == AUTO else (backend,):
        try:
            file, found = _file(manifest, name, precision)
            return BACKENDS[name].open(folder, manifest, file), Choice(name, found, file, "; ".join(reasons))
        except Unavailable as error:
            reasons.append(f"{name}: {error}")
    raise Unavailable("; ".join(reasons))


def default_batch(backend: str, height: int, width: int) -> int:
    """Frames a call: the backend's own number up to 128 x 128, and fewer as frames grow, so that memory holds."""
    return max(1, min(BACKENDS[backend].batch, BACKENDS[backend].batch * 128 * 128 // (height * width)))


def _file(manifest: Manifest, backend: str, precision: str) -> tuple[str, str]:
    """The bundle's file for a precision (with `auto` the row's first that it has), and that precision."""
    row = BACKENDS[backend]
    for wanted in row.precisions if precision == AUTO else (precision,):
        if file := row.find(manifest, wanted):
            return file, wanted
    there = sorted({str(entry.precision) for name, entry in manifest.files.items() if name.startswith("step.")})
    asked = f" {precision}" if precision != AUTO else ""
    raise Unavailable(
        f"the bundle has no{asked} step graph for it, only {', '.join(there) or 'none'}; "
        f"export one: python -m export CHECKPOINT.pt --precision {precision if precision != AUTO else 'fp32'}"
    )
