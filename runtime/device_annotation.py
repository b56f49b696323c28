"""Labels read from frames that are still on the device, trusted once they agree with the annotator on the CPU.

    reading = AnnotatedFrames(backend, annotator)
    for frames, annotation in reading.draw_all(batches): ...

Above a small Jetson the host is the limit: its annotator takes about a millisecond a frame. The first batch is read on
the CPU as well; where the two differ, or the device can't read, a line on stderr says so and the CPU reads them all.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from contract.annotation import Annotation
from contract.errors import Unavailable
from runtime.annotator import Annotator
from runtime.backends.registry import AnnotatingBackend, Backend

CLOSE = 0.02
"""Largest difference of a probability, or of anything else in shares of its largest value on the CPU: TF32, which GPUs
compute convolutions in, rounds at 0.001, and some layers follow."""

Batches = Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
Read = tuple[npt.NDArray[np.uint8], Annotation | None]


class AnnotatedFrames:
    """A backend's frames and what they show, read on its device or on the CPU; nothing without an annotator."""

    def __init__(self, backend: Backend, annotator: Annotator | None = None) -> None:
        self._backend, self._annotator = backend, annotator
        self._device: AnnotatingBackend | None = None
        self._agreed = False
        if annotator and isinstance(backend, AnnotatingBackend):
            with contextlib.suppress(Unavailable, MemoryError):
                backend.open_annotator(annotator.precision)
                self._device = backend

    @property
    def on_device(self) -> bool:
        return self._device is not None

    def draw_all(self, batches: Batches) -> Iterator[Read]:
        """The frames of each batch in order, and what they show."""
        if self._device is None:
            yield from ((frames, self._on_cpu(frames)) for frames in self._backend.sample_all(batches))
            return
        for frames, annotation in self._device.annotate_all(batches):
            trusted = self._agreed and all(np.isfinite(array).all() for array in annotation)
            yield frames, annotation if trusted else self._compared(frames, annotation)

    def _compared(self, frames: npt.NDArray[np.uint8], annotation: Annotation) -> Annotation | None:
        """What the CPU reads; where the device reads the same, it is trusted from now on, and else never again."""
        read = self._on_cpu(frames)
        if self._device and read:
            differing = difference(annotation, read)
            self._agreed = differing is None
            if differing:
                self._device = None
                print(f"frames are read on the CPU, since the device differs: {differing}", file=sys.stderr)
        return read

    def _on_cpu(self, frames: npt.NDArray[np.uint8]) -> Annotation | None:
        return self._annotator.annotate(frames) if self._annotator else None


def difference(found: Annotation, expected: Annotation) -> str | None:
    """What differs by more than rounding explains, None where nothing does."""
    for name, a, b in zip(Annotation._fields, found, expected, strict=True):
        scale = 1.0 if name == "probabilities" else max(1.0, float(np.abs(b).max(initial=0.0)))
        off = float(np.abs(a - b).max(initial=0.0)) / scale
        if not off <= CLOSE:  # NaN included
            return f"{name} by {off:.3f}, expected at most {CLOSE}"
    return None
