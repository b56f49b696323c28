"""Populations of drawn drivers, each with its camera; two of them share nobody."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Domain:
    """A population of drivers and the camera that looks at them."""

    name: str
    identity_seed: int
    """Key of the people: two domains with different seeds share nobody."""
    subjects: int = 4000
    camera: tuple[float, float, float] = (0.0, 0.03, 5.6)
    """Where the camera is, in scene units; it looks at the origin."""
    camera_jitter: float = 0.05
    half_extent: float = 1.09
    """Half of the picture's width at the origin, in scene units (a face is about 1.4 wide)."""
    distortion: float = 0.0
    """Radial lens distortion: r (1 + distortion r^2)."""
    read_noise: float = 0.006
    shot_noise: float = 0.010
    blur: float = 0.35
    """Standard deviation of the lens blur in pixels of a 64-pixel frame."""
    vignette: float = 0.22


CABIN_DOMAIN = Domain("cabin", identity_seed=1)
"""The training domain."""

HELD_OUT_DOMAIN = replace(CABIN_DOMAIN, name="held-out", identity_seed=3, subjects=1000)
"""Other people before the same camera: an annotator is measured on them, generated frames are compared with them."""

PSEUDO_REAL_DOMAIN = Domain(
    "pseudo-real",
    identity_seed=2,
    subjects=1000,
    camera=(0.9, 0.55, 5.0),
    camera_jitter=0.12,
    half_extent=1.16,
    distortion=0.06,
    read_noise=0.014,
    shot_noise=0.022,
    blur=0.55,
    vignette=0.38,
)
"""Reserved for evaluation: other people, another camera pose, lens and noise."""

DOMAINS = {domain.name: domain for domain in (CABIN_DOMAIN, HELD_OUT_DOMAIN, PSEUDO_REAL_DOMAIN)}
