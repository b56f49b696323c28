"""Populations of drivers and the cameras, cars and light they are seen with.

domain = DOMAINS["held-out"]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Band = tuple[float, float]

PEOPLE = 1_000_000
"""More than any domain has."""


@dataclass(frozen=True)
class Domain:
    """Every band is drawn from uniformly, once a sitting."""

    name: str
    identity_seed: int
    """Key of the people: two domains with different seeds share nobody"""
    subjects: int
    distance: Band = (0.58, 0.70)
    """Camera to eyes, metres"""
    below: Band = (0.09, 0.18)
    """How far the camera is below the eyes, metres"""
    aside: Band = (-0.05, 0.05)
    face: Band = (0.60, 0.70)
    """Height of the face, chin to hairline, as a share of the frame's"""
    jitter: float = 0.07
    """How far off the middle the face lies, in half frames"""
    distortion: Band = (0.0, 0.0)
    blur: Band = (0.0012, 0.0030)
    """Standard deviation of the lens blur in shares of the width"""
    shot: Band = (0.006, 0.018)
    read: Band = (0.002, 0.006)
    vignette: Band = (0.10, 0.30)
    contrast: Band = (0.97, 1.10)
    bloom: Band = (0.01, 0.04)
    lamp_gap: Band = (0.014, 0.070)
    """Infrared lamps to lens, metres: close ones make pupils bright"""
    colour_cast: float = 0.05
    shifted_cars: bool = False

    def key(self, subject: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Numbers of people that no two domains share."""
        return self.identity_seed * PEOPLE + subject


CABIN_DOMAIN = Domain("cabin", identity_seed=1, subjects=8192)
"""The training domain."""

HELD_OUT_DOMAIN = replace(CABIN_DOMAIN, name="held-out", identity_seed=3, subjects=8192)
"""Other people before the same cameras: an annotator is measured on them, generated frames are compared with them."""

PSEUDO_REAL_DOMAIN = Domain(
    "pseudo-real",
    identity_seed=2,
    subjects=8192,
    distance=(0.70, 0.95),
    below=(-0.04, 0.10),
    aside=(0.08, 0.26),
    face=(0.54, 0.66),
    jitter=0.11,
    distortion=(0.05, 0.13),
    blur=(0.0035, 0.0065),
    shot=(0.030, 0.060),
    read=(0.010, 0.022),
    vignette=(0.35, 0.60),
    contrast=(0.80, 0.98),
    bloom=(0.04, 0.09),
    lamp_gap=(0.050, 0.110),
    colour_cast=0.16,
    shifted_cars=True,
)
"""Reserved for evaluation: other people, cameras, lenses, cars and noise."""

DOMAINS = {domain.name: domain for domain in (CABIN_DOMAIN, HELD_OUT_DOMAIN, PSEUDO_REAL_DOMAIN)}
