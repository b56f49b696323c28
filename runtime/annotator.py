"""The annotator of a bundle, in ONNX Runtime on the CPU: which labels does a frame show?

    annotator = Annotator.open(Path("bundle"), manifest, "fp32")
    annotation = annotator.annotate(frames)                   # frames uint8 [N, H, W, C]

`contract.annotation` says what an annotation holds, and when it agrees with the condition.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.annotation import Annotation, annotation_sides
from contract.bundle import ANNOTATORS, FIX, Manifest, open_checked
from contract.errors import Refused, Unavailable, UsageError
from runtime.backends.onnx_interface import EngineErrors
from runtime.backends.ort import CPU, import_onnxruntime, new_session

AUTO, OFF = "auto", "off"
CHOICES = (AUTO, *ANNOTATORS, OFF)
"""What `--annotator` takes."""

TRAIN = "train one: python -m training.train_annotator; then export again: python -m export CHECKPOINT.pt -o BUNDLE"

BATCH = 64
"""Frames a call: enough for the threads, few enough for the caches."""

CONFIG = {"session.intra_op.allow_spinning": "0"}
"""Idle threads that spin in wait for the next call would take the processor from the network that draws."""

FLOAT, BYTE = "tensor(float)", "tensor(uint8)"


def choose(manifest: Manifest, name: str, drawn: str) -> str | None:
    """The precision to open, or None; `auto` takes int8 where frames are drawn in int8, and what there is."""
    if name not in CHOICES:
        raise UsageError(f"annotator {name}: expected one of {', '.join(CHOICES)}")
    if name != AUTO:
        return None if name == OFF else name
    there = [precision for precision, file in ANNOTATORS.items() if file in manifest.files]
    return drawn if drawn == "int8" and drawn in there else next(iter(there), None)


class Annotator:
    """One opened annotator; `seconds` is the time spent inside it so far."""

    def __init__(self, folder: Path, manifest: Manifest, precision: str) -> None:
        self.precision, self.file, self.seconds = precision, ANNOTATORS[precision], 0.0
        fix = FIX.format(folder=folder)
        ort = import_onnxruntime("cpu")
        content = open_checked(folder, manifest, self.file)
        self._errors = EngineErrors(str(folder / self.file), fix)
        self._session = self._errors(lambda: new_session(ort, content, CPU, config=CONFIG))
        channels, height, width = manifest.image
        self._frame = (height, width, channels)
        self.landmarks: list[str] = manifest.files[self.file].extra.get("landmarks", [])
        """Their names, in order."""
        self._sides = _sides(self._errors, manifest, self.file)
        self._errors.compare("inputs", self._session.get_inputs(), {"frames": (BYTE, [height, width, channels])})
        outputs = {name: (FLOAT, sides) for name, sides in self._sides.items()}
        self._errors.compare("outputs", self._session.get_outputs(), outputs)

    @staticmethod
    def open(folder: Path, manifest: Manifest, precision: str) -> Annotator:
        """Open it; Unavailable where the bundle has none of that precision, Refused for a file that isn't one."""
        if ANNOTATORS[precision] not in manifest.files:
            there = [name for name in ANNOTATORS.values() if name in manifest.files]
            only = f"only {', '.join(there)}; take auto" if there else f"none at all; {TRAIN}"
            raise Unavailable(f"{folder}: the bundle has no {precision} annotator, {only}")
        return Annotator(folder, manifest, precision)

    def annotate(self, frames: npt.NDArray[np.uint8]) -> Annotation:
        """Labels of frames uint8 [N, H, W, C]; UsageError for other frames, Refused where it gives no numbers."""
        if frames.dtype != np.uint8 or frames.shape[1:] != self._frame or frames.ndim != 1 + len(self._frame):
            expected = ", ".join(map(str, self._frame))
            raise UsageError(f"frames {frames.dtype} {list(frames.shape)}: expected uint8 [N, {expected}]")
        started = time.perf_counter()
        none = Annotation(*(np.zeros((0, *sides), np.float32) for sides in self._sides.values()))
        parts = [self._run(frames[first : first + BATCH]) for first in range(0, len(frames), BATCH)]
        self.seconds += time.perf_counter() - started
        return Annotation.join([none, *parts])

    def close(self) -> None:
        """Free the session and its memory."""
        self._session = None

    def _run(self, frames: npt.NDArray[np.uint8]) -> Annotation:
        feeds = {"frames": np.ascontiguousarray(frames)}
        arrays: list[Any] = self._errors(lambda: self._session.run(list(Annotation._fields), feeds))
        if not all(np.isfinite(array).all() for array in arrays):
            raise Refused(f"{self._errors.name}: gives NaN or infinity for a frame; {self._errors.fix}")
        return Annotation(*arrays)


def _sides(errors: EngineErrors, manifest: Manifest, name: str) -> dict[str, list[int]]:
    """Shape of each array of an annotation without the batch axis, by schema and manifest."""
    extra, schema = manifest.files[name].extra, manifest.schema
    landmarks, features = extra.get("landmarks"), extra.get("features")
    if not isinstance(landmarks, list) or type(features) is not int or features < 1:
        raise Refused(f"{errors.name}: expected landmarks and features in the manifest; {errors.fix}")
    return annotation_sides(schema, len(landmarks), features)
