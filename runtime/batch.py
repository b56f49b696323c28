"""What a stream hands out: a batch of frames, and what each of them shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contract.annotation import Annotation
from contract.field import Condition


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

    def reading(self, row: int) -> Mapping[str, Any]:
        return self.readings[row] if self.readings else {}
