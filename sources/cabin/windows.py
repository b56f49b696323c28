"""Where the paths go: few everywhere, more on the face, most on the eyes.

    radiance = photograph(scene, moment, size=128, samples=4, seed=1)        # float32 [H, W, 3], linear

Lids, irises and lashes are a few pixels each, and a denoiser that has seen a handful of paths of them smears them. Each
eye is therefore drawn once more in a window of its own: finer pixels, many paths, denoised there and averaged down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sources.cabin import denoise
from sources.cabin.assembly import Image, build_sensor, trace
from sources.cabin.moment import Moment

Floats = npt.NDArray[np.float64]

FACE_PATHS = 2
"""Additional paths a pixel on the face, in those of the whole picture."""
EYE_PATHS = 4
"""Paths of each fine pixel on the eyes, in those of the whole picture."""
FINE = 2
"""Fine pixels to one of the picture's, along each side of an eye's window."""
FACE_MARGIN = (0.10, 0.02)
"""What a window reaches beyond the landmarks of the face: share of their extent, and of the picture."""
EYE_MARGIN = (0.15, 0.025)
SEAM = 2.0
"""Pixels over which an eye's window fades into the picture."""
GRAIN = 0.25
"""Share of the undenoised picture in a frame, fireflies clamped: lashes and glints keep their edge."""


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: first row and column, and the ones after its last."""

    top: int
    left: int
    bottom: int
    right: int

    @staticmethod
    def around(shares: Floats, size: int, margin: tuple[float, float]) -> Window | None:
        """The pixels around points [N, 2] in shares of a picture of `size`; None if all of them lie outside."""
        low, high = shares.min(axis=0), shares.max(axis=0)
        reach = margin[0] * (high - low) + margin[1]
        left, top = np.clip(np.floor((low - reach) * size), 0, size).astype(int).tolist()
        right, bottom = np.clip(np.ceil((high + reach) * size), 0, size).astype(int).tolist()
        return Window(top, left, bottom, right) if bottom > top and right > left else None

    @property
    def rows(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def finer(self, times: int) -> Window:
        return Window(self.top * times, self.left * times, self.bottom * times, self.right * times)

    def fade(self) -> Image:
        """Weights [H, W, 1]: 1 inside, falling towards 0 over SEAM pixels at the border."""
        sides = []
        for length in (self.bottom - self.top, self.right - self.left):
            step = np.arange(length) + 0.5
            sides.append(np.clip(np.minimum(step, length - step) / SEAM, 0.0, 1.0))
        return np.asarray(np.minimum.outer(*sides)[..., None], dtype=np.float32)


def photograph(scene: Any, moment: Moment, size: int, samples: int, seed: int, denoised: bool = True) -> Image:
    """Radiance [H, W, 3] of a moment; `samples` paths a pixel where nothing needs more."""
    lenses = "glasses" in moment.labels().values()
    flat = replace(moment.camera, distortion=0.0)  # the lens bends the finished picture

    def drawn(window: Window | None, times: int, paths: int, part: int) -> Image:
        cut = None if window is None else window.finer(times)
        crop = None if cut is None else (cut.left, cut.top, cut.right - cut.left, cut.bottom - cut.top)
        sensor = build_sensor(flat, moment.to_head, size * times, crop)
        return trace(scene, paths, (seed + 7907 * part) % (1 << 31), lenses, sensor)

    def seen(points: Floats, margin: tuple[float, float]) -> Window | None:
        return Window.around(flat.project(moment.to_world(points)), size, margin)

    radiance = drawn(None, 1, samples, 0)
    face, moved = moment.sitter.face, moment.moved
    window = seen(face.outline(moved), FACE_MARGIN)
    if window is not None:
        more = drawn(window, 1, FACE_PATHS * samples, 1)
        radiance[window.rows] += (more - radiance[window.rows]) * np.float32(FACE_PATHS / (FACE_PATHS + 1))
    picture = _cleaned(radiance) if denoised else radiance
    for part, side in enumerate("LR"):
        window = seen(moved[face.eye_outline(side)], EYE_MARGIN)
        if window is None:
            continue
        fine = drawn(window, FINE, EYE_PATHS * samples, 2 + part)
        fine = _cleaned(fine) if denoised else fine
        height, width = window.bottom - window.top, window.right - window.left
        eye = fine.reshape(height, FINE, width, FINE, 3).mean(axis=(1, 3))
        picture[window.rows] += window.fade() * (eye - picture[window.rows])
    return picture


def _cleaned(radiance: Image) -> Image:
    clean = denoise.denoise(radiance)
    return np.asarray((1 - GRAIN) * clean + GRAIN * np.clip(radiance, 0.7 * clean, 1.3 * clean), dtype=np.float32)
