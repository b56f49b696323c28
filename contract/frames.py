"""Frames as pixels and as the numbers that networks work on, and how far apart two sets of frames are.

    images = to_images(frames)                   # uint8 [N, H, W, C] -> float32 [N, C, H, W] in [-1, 1]
    frames = to_frames(images)                   # and back, clamped and rounded to the nearest level

Both work on numpy arrays; `scale_pixels` and `unscale_pixels` are the formulas alone, for tensors of any library.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]
"""uint8 [N, H, W, C]"""

Images = npt.NDArray[np.float32]
"""float32 [N, C, H, W] in [-1, 1]"""

PEAK = 255
HALF = PEAK / 2.0
"""Levels of half the range: what one unit of an image is worth."""

PERFECT_DB = 100.0
"""PSNR of equal frames, which is infinite: beyond that of frames that differ in a single pixel by one level."""


class ImageShape(NamedTuple):
    """Shape of one frame."""

    channels: int
    height: int
    width: int


def scale_pixels(levels: Any) -> Any:
    """Levels 0 to 255 as numbers in [-1, 1]; `levels` is a float array or tensor of any library."""
    return levels / HALF - 1.0


def unscale_pixels(images: Any) -> Any:
    """The inverse: numbers in [-1, 1] as levels 0 to 255, not yet rounded."""
    return (images + 1.0) * HALF


def to_images(frames: Frames) -> Images:
    """Frames uint8 [N, H, W, C] as contiguous images float32 [N, C, H, W] in [-1, 1]."""
    return np.ascontiguousarray(scale_pixels(frames.transpose(0, 3, 1, 2).astype(np.float32)))


def to_frames(images: Images) -> Frames:
    """Images float32 [N, C, H, W] as contiguous frames uint8 [N, H, W, C], clamped to [-1, 1] and rounded."""
    levels = np.rint(unscale_pixels(np.clip(images, -1.0, 1.0)))
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(0, 2, 3, 1))


def squared_errors(found: Frames, expected: Frames) -> npt.NDArray[np.float64]:
    """Mean squared error of each frame, float64 [N], in levels of 255 squared."""
    difference = found.astype(np.float64) - expected
    return np.asarray((difference**2).reshape(len(found), -1).mean(axis=1))


def psnr(squared_error: Any, peak: float = PEAK) -> Any:
    """PSNR in dB of mean squared errors, at most PERFECT_DB; `peak` is the range of the values compared."""
    with np.errstate(divide="ignore"):
        return np.minimum(10 * np.log10(peak**2 / np.asarray(squared_error)), PERFECT_DB)
