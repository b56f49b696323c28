"""What a stream hands out: a batch of frames, and what each of them shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contract.annotation import Annotation, agrees, measured
from contract.conditions import Schema
from contract.field import Condition
from contract.frame_record import landmark_list


class Batch(NamedTuple):
    """Frames with what each of them shows."""

    start: int
    """Index of the first frame."""

    frames: npt.NDArray[np.uint8]
    """[B, H, W, C]"""

    conditions: list[Condition]
    """Complete, one a frame."""

    annotation: Annotation | None = None
    """What the frames show, where an annotator ran."""

    attempts: Sequence[int] = ()
    """Which attempt each frame is: 0 unless earlier ones were rejected."""

    readings: Sequence[Mapping[str, Any]] = ()
    """What the record of each frame says beside its condition: `measured`, `agrees` and `landmarks` where an
    annotator ran, `attempt` and `tries` where frames could be rejected."""

    def within(self, indices: range) -> Batch | None:
        """The part of it that has these indices, None where it has none of them."""
        first, end = max(self.start, indices.start), min(self.start + len(self.frames), indices.stop)
        if first >= end:
            return None
        rows = slice(first - self.start, end - self.start)
        annotation = self.annotation.rows(rows) if self.annotation else None
        lists = self.conditions[rows], annotation, self.attempts[rows], self.readings[rows]
        return Batch(first, self.frames[rows], *lists)

    def reading(self, row: int) -> Mapping[str, Any]:
        return self.readings[row] if self.readings else {}


def readings_of(
    schema: Schema, annotation: Annotation, conditions: Sequence[Condition], landmarks: Sequence[str]
) -> list[dict[str, Any]]:
    """`measured`, `agrees` and `landmarks` of each frame; `landmarks` are their names, in order."""
    entries = [measured(schema, annotation, row, condition) for row, condition in enumerate(conditions)]
    agreeing = [agrees(schema, entry, condition) for entry, condition in zip(entries, conditions, strict=True)]
    points = [landmark_list(landmarks, row) for row in annotation.landmarks]
    rows = zip(entries, agreeing, points, strict=True)
    return [{"measured": entry, "agrees": agreed, "landmarks": found} for entry, agreed, found in rows]
