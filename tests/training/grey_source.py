"""A source of a few tiny frames that show one of their labels."""

from __future__ import annotations

import numpy as np

from contract.schemas import CABIN
from sources.base import LabelledFrames, fingerprint
from sources.cabin.landmarks import KIND, LANDMARKS


def grey_source(count: int = 48, size: int = 16, seed: int = 0) -> LabelledFrames:
    """Frames whose grey level is the skin tone of their condition, and in which the lighting is a bright line."""
    stream = np.random.default_rng(seed)
    conditions = [CABIN.complete({}, stream) for _ in range(count)]
    tones = np.array([200.0 * float(condition["skin_tone"]) for condition in conditions])
    frames = np.broadcast_to(tones[:, None, None, None], (count, size, size, 3)).astype(np.uint8)
    for frame, condition in zip(frames, conditions, strict=True):
        side = CABIN.field("lighting").values.index(str(condition["lighting"]))
        frame[side * size // 4 :][:2] = 255
    encoded = CABIN.encode(conditions)
    landmarks = np.full((count, len(LANDMARKS), 2), 0.5, dtype=np.float32)
    landmarks[:, :, 0] += np.linspace(-0.2, 0.2, len(LANDMARKS), dtype=np.float32)
    hidden = np.array([[name in CABIN.hidden(condition) for name in CABIN.names] for condition in conditions])
    known = fingerprint(frames, encoded)
    return LabelledFrames(CABIN, frames, encoded, landmarks, hidden, np.arange(count), known, KIND)
