"""Frames averaged over blocks, as rows of numbers: a space in which a copy is near and a pixel's noise is not.

rows = thumbnails(frames)                         # [N, H, W, C] to float64 [N, about 8 * 8 * C]
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contract.frames import PEAK, Frames

SIDE = 8
"""Blocks along each edge."""


def thumbnails(frames: Frames, side: int = SIDE) -> npt.NDArray[np.float64]:
    """Means of about side x side blocks of frames uint8 [N, H, W, C], in [0, 1]: float64 [N, about side * side * C]."""
    count, height, width, channels = frames.shape
    down, across = max(1, height // side), max(1, width // side)
    cut = frames[:, : height // down * down, : width // across * across].astype(np.float64) / PEAK
    blocks = cut.reshape(count, cut.shape[1] // down, down, cut.shape[2] // across, across, channels).mean(axis=(2, 4))
    return np.asarray(blocks.reshape(count, -1))
