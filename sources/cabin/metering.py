"""What the camera exposes for: bare skin, whatever the driver wears on it, and lighter skin more than darker.

gain = exposure_gain(scene, moment, radiance)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sources.cabin.assembly import Image, renderer
from sources.cabin.moment import Moment
from sources.cabin.skin import flat_albedo

LUMINANCE = np.array([0.25, 0.6, 0.15])
DISC = 0.19
"""Radius of the metered disc in shares of the width."""
STEP = 1 / 42
"""Distance of the metered points in shares of the width."""
ENOUGH = 8
"""Fewer metered points on skin than this, and the whole disc is metered."""
MEDIUM = {"rgb": 0.27, "nir": 0.52}
"""Albedo of skin that is exposed to exactly `Optics.key`."""
TONE = 0.5
"""How much of a skin's lightness the frame keeps, as an exponent: at 0 every face is equally bright, at 1 light alone
decides."""


def exposure_gain(scene: Any, moment: Moment, radiance: Image) -> float:
    """What the radiance, as the sensor sees it, is multiplied by."""
    size = radiance.shape[0]
    optics, camera = moment.optics, moment.camera
    balance = np.ones(3) if optics.nir else np.array(optics.balance)
    seen = radiance.astype(np.float64).mean(axis=-1) if optics.nir else (radiance * balance) @ LUMINANCE
    x, y = (2.0 * moment.face_at() - 1.0) * [1.0, -1.0]
    middle = np.array(camera.undistorted(float(x), float(y))) + camera.shift
    steps = np.arange(-DISC, DISC + STEP / 2, STEP)
    places = [middle + 2.0 * np.array([a, b]) for a in steps for b in steps if a * a + b * b < DISC * DISC]
    everything, skin = [], []
    for place in places:
        column, row = int((place[0] + 1) / 2 * size), int((1 - place[1]) / 2 * size)
        if 0 <= row < size and 0 <= column < size:
            value = float(seen[row, column])
            everything.append(value)
            if _shape(scene, moment, place - camera.shift) == "skin":
                skin.append(value)
    metered = skin if len(skin) >= ENOUGH else everything
    level = float(np.median(metered)) if metered else 1.0
    albedo = float(flat_albedo(moment.sitter.person, moment.sensor) @ LUMINANCE)
    return float(optics.key * (albedo / MEDIUM[moment.sensor]) ** TONE / max(level, 1e-9))


def _shape(scene: Any, moment: Moment, plane: npt.NDArray[np.float64]) -> str:
    """Name of the shape that the camera sees at a place in half widths from its optical axis."""
    mi, camera = renderer(), moment.camera
    towards = camera.axes @ np.array([plane[0] * camera.tangent, 1.0, plane[1] * camera.tangent])
    direction = moment.to_head.rotation @ (towards / np.linalg.norm(towards))
    origin = moment.to_head(camera.origin)
    hit = scene.ray_intersect(mi.Ray3f([float(v) for v in origin], [float(v) for v in direction]))
    return str(hit.shape.id()) if hit.is_valid() else ""
