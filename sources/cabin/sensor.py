"""From radiance to a frame: exposure, lens, noise, tone curve, 8 bits.

frame = expose(radiance, gain, optics, generator)        # uint8 [H, W, 3]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates

Image = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Optics:
    """Lens and chip of one camera at one moment."""

    nir: bool
    key: float
    """Linear value that medium skin is exposed to"""
    blur: float
    """Standard deviation in shares of the width"""
    shot: float
    read: float
    vignette: float
    distortion: float
    bloom: float
    balance: tuple[float, float, float]
    contrast: float


def expose(radiance: Image, gain: float, optics: Optics, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """`gain` is the exposure, as `sources.cabin.metering` measures it."""
    size = radiance.shape[0]
    image = np.maximum(np.nan_to_num(radiance, nan=0.0, posinf=1e4), 0.0).astype(np.float64)
    if optics.nir:
        image = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    else:
        image = image * np.array(optics.balance)
    if optics.distortion:
        image = _distort(image, optics.distortion)
    image = image * gain
    if optics.bloom:
        bright = np.minimum(np.maximum(image - 1.5, 0.0), 30.0)
        wide = sum(gaussian_filter(bright, (s * size, s * size, 0)) for s in (0.02, 0.08))
        image = image + optics.bloom * wide
    image = gaussian_filter(image, (optics.blur * size, optics.blur * size, 0)) if optics.blur > 0 else image
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    image = image * (1.0 - optics.vignette * 0.5 * (axis[:, None] ** 2 + axis[None, :] ** 2))[..., None]
    channels = 1 if optics.nir else 3
    noise = generator.standard_normal((2, size, size, channels))
    image = np.minimum(image, 40.0)
    image = image + optics.shot * np.sqrt(image) * noise[0] + optics.read * noise[1]
    image = np.clip(image, 0.0, None)
    mapped = image * (1.0 + image / 6.0) / (1.0 + 0.72 * image)
    encoded = _srgb(np.clip(mapped, 0.0, 1.0))
    encoded = np.clip(0.5 + (encoded - 0.5) * optics.contrast, 0.0, 1.0)
    return np.asarray(np.round(encoded * 255.0), dtype=np.uint8)


def _distort(image: Floats, strength: float) -> Floats:
    """Barrel distortion as in `Camera.project`; the corners stay where they are."""
    size = image.shape[0]
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    r2 = (x * x + y * y) * (1.0 - 2.0 * strength) ** 2
    source = r2.copy()
    for _ in range(8):
        source = r2 / (1.0 - strength * source) ** 2
    factor = (1.0 - 2.0 * strength) / (1.0 - strength * source)
    rows, columns = ((value * factor + 1) / 2 * size - 0.5 for value in (y, x))
    return np.stack(
        [map_coordinates(image[..., c], [rows, columns], order=1, mode="nearest") for c in range(3)], axis=-1
    )


def _srgb(linear: Floats) -> Floats:
    return np.asarray(
        np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
    )
