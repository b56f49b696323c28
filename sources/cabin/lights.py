"""Light: sky through the windows, the sun, tunnel lamps, and the camera's own infrared lamps.

    lights = Lights.draw(lighting, sensor, run_seed, index, lamp_gap)
    emitters = lights.emitters(camera, eyes, interior)

What lies outside is a blurred picture on each window. A driver camera brings its own near-infrared lamps; its
filter lets little of the daylight and next to nothing of a tunnel's lamps through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from sources.cabin.camera import Camera
from sources.cabin.interior import Interior
from sources.cabin.streams import LIGHT, stream

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Lights:
    """The light of one moment."""

    lighting: str
    sensor: str
    lamps: tuple[tuple[float, float], ...]
    """Where the infrared lamps are beside the lens, metres (right, up); empty for a visible-light camera"""
    glow: float
    """How much of the lamp the pupils send back: only a lamp close to the lens does it"""
    random: Floats

    @staticmethod
    def draw(lighting: str, sensor: str, seed: int, index: int, lamp_gap: float) -> Lights:
        """`lamp_gap` is how far the lamps are from the lens, a property of the camera."""
        own = stream(LIGHT, seed, index)
        random = own.random(24)
        lamps = ((lamp_gap, 0.004), (-lamp_gap, 0.004)) if lamp_gap > 0.022 else ((lamp_gap, 0.012),)
        glow = float(np.clip(1.15 - lamp_gap / 0.030, 0.0, 1.0)) if sensor == "nir" and lighting != "day" else 0.0
        return Lights(lighting, sensor, lamps if sensor == "nir" else (), glow, random)

    def _between(self, slot: int, low: float, high: float) -> float:
        return float(low + (high - low) * self.random[slot])

    def emitters(self, camera: Camera, eyes: Floats, interior: Interior) -> dict[str, dict[str, Any]]:
        found = self._windows(eyes, interior)
        found |= self._lamps(camera)
        if self.lighting in ("day", "backlight"):
            found |= self._sun(interior.side)
        if self.lighting == "tunnel":
            found |= self._tunnel(eyes)
        return found

    def _levels(self) -> dict[str, Any]:
        """Radiance of the windshield, the near and far side windows and the rear window (red, green, blue)."""
        white = np.array([1.0, 1.0, 1.0])
        warm = np.array([1.0, 0.55, 0.18]) * (0.75 + 0.5 * self.random[1])
        levels = {
            "day": (
                self._between(0, 2.2, 5.0),
                self._between(2, 1.0, 3.6),
                self._between(3, 0.8, 2.6),
                self._between(4, 1.0, 4.0),
                _sky(self.random[5]),
            ),
            "night": (0.006, self._between(2, 0.002, 0.010), 0.004, 0.005, white * [1.0, 0.9, 0.7]),
            "tunnel": (
                self._between(0, 0.30, 0.8),
                self._between(2, 0.10, 0.35),
                0.12,
                self._between(4, 0.05, 0.30),
                warm,
            ),
            "backlight": (
                self._between(0, 0.7, 1.5),
                self._between(2, 0.8, 3.0),
                self._between(3, 1.0, 4.0),
                self._between(4, 9.0, 20.0),
                _sky(self.random[5]),
            ),
        }
        front, near, far, rear, colour = levels[self.lighting]
        if self.sensor == "nir":
            passed = {"day": 0.40, "night": 0.2, "tunnel": 0.03, "backlight": 0.40}[self.lighting]
            front, near, far, rear, colour = front * passed, near * passed, far * passed, rear * passed, white
        return {"windshield": front * colour, "near": near * colour, "far": far * colour, "rear": rear * colour}

    def _windows(self, eyes: Floats, interior: Interior) -> dict[str, dict[str, Any]]:
        side, levels = interior.side, self._levels()
        up = interior.roof_height
        places = {
            "windshield": ((-0.35 * side, -1.05, 0.22), (0.1 * side, 1.0, -0.35), (1.5, 0.62), 2.0),
            "near": (((interior.wide + 0.25) * side, 0.15, 0.02), (-side, 0.0, 0.0), (2.4, 0.75), 1.0),
            "far": ((-1.55 * side, 0.2, 0.02), (side, 0.0, 0.0), (2.6, 0.75), 0.5),
            "rear": (
                (-0.37 * side, 1.95, 0.02),
                (0.0, -1.0, 0.1),
                (1.9, 0.62),
                0.6 if self.lighting == "backlight" else 0.3,
            ),
        }
        found: dict[str, dict[str, Any]] = {}
        for number, (name, (at, facing, size, weight)) in enumerate(places.items()):
            view = _outside(self.lighting, levels[name], int(self.random[8 + number] * (1 << 30)), name == "windshield")
            found[f"window_{name}"] = {
                "type": "rectangle", "at": eyes + np.array(at) * [1, 1, min(1.0, up / 0.22)],
                "facing": np.array(facing), "size": size,
                "emitter": {"type": "area", "radiance": view, "sampling_weight": weight},
            }  # fmt: skip
        return found

    def _sun(self, side: float) -> dict[str, dict[str, Any]]:
        if self.random[12] > (0.55 if self.lighting == "day" else 0.35):
            return {}
        height = np.radians(self._between(13, 18.0, 48.0))
        around = np.radians(self._between(14, -60.0, 75.0)) * side  # from the front, towards the near window
        if self.lighting == "backlight":
            around, height = (
                np.radians(180.0 - self._between(14, -30.0, 55.0)) * side,
                np.radians(self._between(13, 8.0, 22.0)),
            )
        direction = -np.array([np.sin(around) * np.cos(height), -np.cos(around) * np.cos(height), np.sin(height)])
        strength = self._between(15, 1.5, 5.5) * (0.35 if self.sensor == "nir" else 1.0)
        colour = (
            np.ones(3)
            if self.sensor == "nir"
            else np.array([1.0, 0.93 - 0.15 * self.random[16], 0.82 - 0.3 * self.random[16]])
        )
        return {
            "sun": {
                "type": "directional",
                "direction": direction,
                "irradiance": _rgb(strength * colour),
                "sampling_weight": 1.5,
            }
        }

    def _tunnel(self, eyes: Floats) -> dict[str, dict[str, Any]]:
        """Lamps overhead that pass by: seen through the windshield and the side window."""
        colour = np.array([10.0, 5.0 + 3.0 * self.random[1], 1.1 + 5.0 * self.random[1] ** 2])
        if self.sensor == "nir":
            colour = np.full(3, 0.35)
        found = {}
        for number in range(3):
            phase = (self.random[17] + number) * 1.6 - 2.6
            at = eyes + np.array([0.7 - 1.4 * self.random[18], phase - 0.6, 1.0])
            if at[1] > eyes[1] - 0.55:
                at = at + np.array([np.sign(self.random[18] - 0.5) * 0.9, 0.0, -0.35])
            found[f"tunnel_{number}"] = {
                "type": "rectangle", "at": at, "facing": eyes + np.array([0, -0.05, -0.05]) - at, "size": (0.45, 0.22),
                "emitter": {"type": "area", "radiance": _rgb(colour)},
            }  # fmt: skip
        return found

    def _lamps(self, camera: Camera) -> dict[str, dict[str, Any]]:
        strength = self._between(19, 0.8, 1.3) * (520.0 if len(self.lamps) == 1 else 280.0)
        found = {}
        for number, (right, up) in enumerate(self.lamps):
            at = camera.origin + camera.axes @ np.array([right, 0.004, up])
            found[f"lamp_{number}"] = {
                "type": "sphere", "at": at, "radius": 0.008,
                "emitter": {"type": "area", "radiance": _rgb(np.full(3, strength)), "sampling_weight": 2.5},
            }  # fmt: skip
        if not self.lamps and self.lighting != "night":  # the instrument panel and what the windshield throws back
            found["panel"] = {
                "type": "sphere", "at": camera.origin + camera.axes @ np.array([0.05, -0.02, -0.06]), "radius": 0.02,
                "emitter": {"type": "area", "radiance": _rgb(np.full(3, 2.0)), "sampling_weight": 0.3},
            }  # fmt: skip
        return found


def _rgb(value: Floats) -> dict[str, Any]:
    return {"type": "rgb", "value": [float(v) for v in np.asarray(value)]}


def _sky(warmth: float) -> Floats:
    return np.array([0.92 + 0.14 * warmth, 0.99, 1.10 - 0.22 * warmth])


def _outside(lighting: str, level: Floats, seed: int, soft: bool) -> dict[str, Any]:
    """A blurred view as a small texture: sky, horizon with trees and houses, road; or lights in the dark."""
    from sources.cabin.assembly import renderer

    own = np.random.default_rng(seed)
    rows, columns = 24, 64
    v = np.linspace(0, 1, rows)[:, None] * np.ones((1, columns))  # 0 at the bottom
    spread = gaussian_filter(own.standard_normal((rows, columns)), (1.0, 3.0), mode="wrap")
    if lighting == "night" or lighting == "tunnel":
        view = np.full((rows, columns, 3), 0.35) + 0.2 * spread[..., None]
        if lighting == "night":
            for _ in range(7):
                r, c = int(own.integers(4, rows - 6)), int(own.integers(columns))
                view[r : r + 2, c : c + 2] += np.array([60.0, 45.0, 22.0]) * own.random()
    else:
        horizon = 0.30 + 0.15 * gaussian_filter(own.standard_normal(columns), 3, mode="wrap")[None, :] * 3 + 0.12
        land = 1.0 / (1.0 + np.exp((v - horizon) / 0.03))
        sky = (0.85 + 0.35 * v)[..., None] * np.array([0.96, 1.0, 1.06])
        ground = np.array([[0.24, 0.28, 0.18], [0.28, 0.27, 0.26], [0.36, 0.30, 0.24]][int(own.integers(3))]) * (
            1.0 + 0.5 * spread[..., None]
        )
        view = sky * (1 - land[..., None]) + ground * land[..., None]
        if soft:
            view = 0.45 + 0.55 * view
        view = view * (1.0 + 0.6 * (own.random() - 0.5) * np.linspace(-1, 1, columns)[None, :, None])
    view = gaussian_filter(np.clip(view, 0.02, None), (0.8, 0.8, 0)) * level
    if np.ptp(np.asarray(level)) == 0:
        view = np.repeat(view.mean(axis=-1, keepdims=True), 3, axis=-1)
    bitmap = renderer().Bitmap(np.ascontiguousarray(view, dtype=np.float32))
    return {"type": "bitmap", "bitmap": bitmap, "raw": True, "wrap_mode": "clamp"}
