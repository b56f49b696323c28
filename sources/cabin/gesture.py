"""What a hand does at one moment, and the points of the face that it aims at.

gesture = Gesture.draw("phone", run_seed, index, mirror_side=1.0)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sources.cabin.streams import PROPS, choose, stream

Floats = npt.NDArray[np.float64]

MOMENTS = {
    "phone": {"call": 3, "text": 1.2},
    "eating": {"burger": 2, "bar": 1, "cup": 2, "bottle": 1.5},
    "adjusting": {"mirror": 2, "visor": 0.6, "screen": 1.5},
    "other": {"eye": 1, "cheek": 1.5, "forehead": 1, "yawn": 1.2, "scratch": 0.8},
}


@dataclass(frozen=True)
class Gesture:
    """What a hand does at one moment."""

    kind: str
    side: str
    """"L" or "R": the subject's"""
    jitter: Floats
    colour: tuple[float, float, float]
    nir: float
    style: float

    @staticmethod
    def draw(distraction: str, seed: int, index: int, mirror_side: float) -> Gesture | None:
        """The gesture of a distraction; `mirror_side` +1 means the car's middle is to the subject's right."""
        own = stream(PROPS, seed, index + (2 << 40))
        uniform, jitter, paint, nir, style = (
            own.random(2),
            own.standard_normal(6),
            own.random(3),
            own.random(),
            own.random(),
        )
        if distraction not in MOMENTS:
            return None
        kind = choose(own, {name: float(weight) for name, weight in MOMENTS[distraction].items()})
        side = "L" if uniform[0] < 0.5 else "R"
        if kind in ("mirror", "screen"):
            side = "R" if mirror_side > 0 else "L"
        r, g, b = [
            (0.7, 0.08, 0.06),
            (0.1, 0.35, 0.12),
            (0.65, 0.62, 0.58),
            (0.06, 0.15, 0.4),
            (0.5, 0.32, 0.18),
            (0.8, 0.65, 0.1),
        ][int(paint[0] * 6)]
        return Gesture(kind, side, jitter, (r, g, b), 0.2 + 0.5 * float(nir), float(style))


@dataclass(frozen=True)
class Features:
    """Points of the moved face in head coordinates."""

    mouth: Floats
    eyes: dict[str, Floats]
    chin: Floats
    ear_x: float
    hair: float
    """How far hair keeps a phone off the ear, metres"""
    skin: Floats
    """[N, 3] of the face's skin"""
    normals: Floats
