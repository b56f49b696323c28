"""Glasses, sunglasses and face masks, fitted to a person's head.

kit = Accessory.draw("glasses", run_seed, sitting)
surfaces = wear(kit, face, scalp, vertices)          # head coordinates
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates

from sources.cabin.face import Face
from sources.cabin.scalp import Scalp
from sources.cabin.streams import PROPS, between, choose, stream
from sources.cabin.surfaces import Material, Solid, Surface, grid, join, tube

Floats = npt.NDArray[np.float64]

FRAMES = {
    "black": ((0.012, 0.012, 0.013), 0.10), "tortoise": ((0.09, 0.04, 0.015), 0.35),
    "steel": ((0.42, 0.42, 0.43), 0.45),
    "gold": ((0.55, 0.38, 0.13), 0.5), "blue": ((0.03, 0.05, 0.14), 0.3), "red": ((0.25, 0.02, 0.03), 0.5),
    "clear": ((0.6, 0.6, 0.58), 0.6),
}  # fmt: skip
MASKS = {
    "blue": ((0.36, 0.55, 0.66), 0.60), "white": ((0.74, 0.74, 0.73), 0.66), "black": ((0.02, 0.02, 0.022), 0.20),
    "grey": ((0.22, 0.22, 0.23), 0.45), "pink": ((0.66, 0.42, 0.44), 0.6),
}  # fmt: skip


@dataclass(frozen=True)
class Accessory:
    """What is worn on the face during one sitting."""

    kind: str
    frame: Material
    lens: Material
    exponent: float
    """Outline of the lenses: 2 is round, larger is squarer"""
    half_width: float
    half_height: float
    rim: float
    cloth: Material
    beak: float
    """How far a mask stands off the nose, 0 to 1"""

    @staticmethod
    def draw(kind: str, seed: int, number: int) -> Accessory:
        own = stream(PROPS, seed, number)
        colour, nir = FRAMES[
            choose(own, {"black": 4, "tortoise": 2, "steel": 2, "gold": 1.2, "blue": 0.6, "red": 0.4, "clear": 0.5})
        ]
        dark = kind == "sunglasses"
        visible, infrared = between(own, 0.05, 0.20), between(own, 0.0, 1.0)
        # many dyed lenses pass the near infrared; mirrored and mineral ones don't
        infrared = 0.08 + 0.12 * infrared if own.random() < 0.5 else 0.45 + 0.4 * infrared
        lens = Material(
            (0, 0, 0), 0.0, specular=0.55 if dark else 0.14, transmittance=(visible, infrared) if dark else (0.97, 0.97)
        )
        cloth, cloth_nir = MASKS[choose(own, {"blue": 3, "white": 3, "black": 1.5, "grey": 0.7, "pink": 0.4})]
        thin = own.random() < 0.45
        size = between(own, 0.9, 1.12) * (1.14 if dark else 1.0)
        return Accessory(
            kind, Material(colour, nir, roughness=0.25, specular=0.55), lens,
            [2.0, 2.6, 4.0, 5.0][int(own.integers(4))], 0.0245 * size,
            between(own, 0.0185, 0.0225) * size, between(own, 0.0009, 0.0013) if thin else between(own, 0.0016, 0.0024),
            Material(cloth, cloth_nir, roughness=0.9, specular=0.1, sheen=0.15), between(own, 0.0, 1.0),
        )  # fmt: skip


def wear(kit: Accessory, face: Face, scalp: Scalp, vertices: Floats) -> list[Surface]:
    """Surfaces of an accessory on the moved face `vertices`, in head coordinates."""
    if kit.kind in ("glasses", "sunglasses"):
        return _glasses(kit, face, scalp)
    return _mask(kit, scalp, vertices) if kit.kind == "mask" else []


def _glasses(kit: Accessory, face: Face, scalp: Scalp) -> list[Surface]:
    points = face.rest[np.unique(scalp.part.source)]
    left = face.centres["L"]
    centre = np.array([left[0] * 1.03, 0.0, left[2] - 0.0035])
    near = (np.abs(np.abs(points[:, 0]) - centre[0]) < kit.half_width * 0.9) & (
        np.abs(points[:, 2] - centre[2]) < kit.half_height * 0.85
    )
    near &= np.abs(points[:, 0]) > 0.014
    front = min(float(left[1] - face.ball * 1.03 - 0.010), float(points[near, 1].min() - 0.0025))
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    outline = np.stack(
        [np.sign(cos) * np.abs(cos) ** (2 / kit.exponent), np.sign(sin) * np.abs(sin) ** (2 / kit.exponent)], axis=1
    )
    outline[:, 0] *= 1.0 + 0.07 * outline[:, 1]
    solids: list[Solid] = []
    lenses: list[Solid] = []
    for side in (1.0, -1.0):
        ring = np.stack(
            [centre[0] + kit.half_width * outline[:, 0], np.zeros(40), centre[2] + kit.half_height * outline[:, 1]],
            axis=1,
        )
        ring[:, 1] = front + 2.0 * ring[:, 0] ** 2 - 0.10 * (ring[:, 2] - centre[2])
        ring[:, 0] *= side
        solids.append(tube(ring, kit.rim, 8, closed=True))
        middle = ring.mean(axis=0)
        share = np.linspace(0.02, 1.0, 5)[:, None, None]
        sheet = middle + share * (ring - middle)
        sheet[..., 1] -= 0.0025 * (1 - share[..., 0] ** 2)
        lenses.append(grid(sheet, closed=True))
        solids.append(_temple(kit, ring, side, scalp, points))
    x = np.linspace(-1, 1, 9) * (centre[0] - kit.half_width * 0.97)
    bridge = np.stack([x, front - 0.0015 + 0 * x, centre[2] + 0.004 + 0.0035 * (1 - (x / x[0]) ** 2)], axis=1)
    solids.append(tube(bridge, kit.rim * 0.9, 8))
    return [
        Surface(*join(*solids), material=kit.frame, label="glasses", name="frame"),
        Surface(*join(*lenses), material=kit.lens, label="glasses", name="lens"),
    ]


def _temple(kit: Accessory, ring: Floats, side: float, scalp: Scalp, points: Floats) -> Solid:
    """From the outer edge of a lens over the ear and behind it."""
    start = ring[(ring[:, 0] * side).argmax()] + np.array([side * 0.001, 0.0, 0.006])
    beside = points[
        (points[:, 2] > start[2] - 0.012)
        & (points[:, 2] < start[2] + 0.015)
        & (points[:, 1] > -0.115)
        & (points[:, 1] < -0.065)
    ]
    width = float(np.abs(beside[:, 0]).max()) + 0.0025
    ear = scalp.shift + np.array([0.0, -0.050, 0.908])
    path = np.array(
        [
            start, [side * max(abs(start[0]) + 0.001, width * 0.985), start[1] + 0.012, start[2]],
            [side * width, -0.095, start[2]],
            [side * (width + 0.001), ear[1], ear[2]], [side * (width - 0.001), ear[1] + 0.018, ear[2] - 0.016],
        ]
    )  # fmt: skip
    return tube(path, kit.rim * 1.05, 8)


def _mask(kit: Accessory, scalp: Scalp, vertices: Floats) -> list[Surface]:
    """A taut sheet over nose and chin: the convex outline of every section of the face, from ear to ear."""
    points = vertices[np.unique(scalp.part.source)] - scalp.shift
    points = points[(points[:, 1] < -0.02) & (np.abs(points[:, 0]) < 0.079)]
    heights = np.linspace(0.745, 0.895, 26)
    angle = np.radians(np.linspace(-82, 82, 42))
    axis = np.array([0.0, -0.045])
    normal = np.stack([np.sin(angle), -np.cos(angle)], axis=1)
    support = np.empty((len(heights), len(angle)))
    for row, height in enumerate(heights):
        near = points[np.abs(points[:, 2] - height) < 0.007]
        if len(near) < 8:
            near = points[np.argsort(np.abs(points[:, 2] - height))[:30]]
        support[row] = ((near[:, :2] - axis) @ normal.T).max(axis=0)
    support = gaussian_filter(support, (1.3, 1.2), mode="nearest") + 0.0035
    slope = np.gradient(support, angle, axis=1)
    tangent = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    flat = axis + support[..., None] * normal + slope[..., None] * tangent
    top = 0.873 - 0.020 * np.abs(angle / angle[-1]) ** 1.5
    chin = float(points[(np.abs(points[:, 0]) < 0.01), 2][points[np.abs(points[:, 0]) < 0.01, 1].argsort()[:40]].min())
    bottom = min(chin, 0.80) - 0.010 + 0.045 * np.abs(angle / angle[-1]) ** 1.6
    share = np.linspace(0.0, 1.0, 22)[:, None]
    z = top * (1 - share) + bottom * share
    rows = np.clip((z - heights[0]) / (heights[1] - heights[0]), 0, len(heights) - 1)
    columns = np.broadcast_to(np.arange(len(angle)), rows.shape)
    sheet = np.stack(
        [map_coordinates(flat[..., k], [rows, columns], order=1, mode="nearest") for k in (0, 1)] + [z], axis=-1
    )
    middle = np.cos(angle / angle[-1] * np.pi / 2) ** 2
    sheet[..., 1] -= 0.012 * kit.beak * middle * np.sin(np.pi * share)
    sheet[..., 1] -= 0.0011 * np.sin(share * np.pi * 2 * 3.5) * middle**0.5 * (kit.beak < 0.6)  # pleats
    sheet += scalp.shift
    loops = []
    for column in (0, -1):
        for row in (1, -3):
            start = sheet[row, column]
            end = scalp.shift + np.array([np.sign(start[0]) * 0.078, -0.035, 0.895 if row == 1 else 0.862])
            bow = np.array([np.sign(start[0]) * 0.004, 0, 0])
            along = np.linspace(0, 1, 7)[:, None]
            loops.append(tube(start + along * (end - start) + np.sin(np.pi * along) * bow, 0.0013, 6))
    band = Material((0.7, 0.7, 0.7), 0.6, roughness=0.9)
    return [
        Surface(*grid(sheet), material=kit.cloth, label="mask", name="mask"),
        Surface(*join(*loops), material=band, label="mask", name="mask_loops"),
    ]
