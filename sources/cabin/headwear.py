"""Hats: a dome over the person's own skull, with a peak, a brim or a fold.

hat = Hat.draw(run_seed, sitting)
surfaces = put_on(hat, scalp)                        # head coordinates
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sources.cabin.clothes import PALETTE
from sources.cabin.scalp import Scalp
from sources.cabin.streams import PROPS, between, choose, stream
from sources.cabin.surfaces import Material, Solid, Surface, grid, join, place, rounded_box

Floats = npt.NDArray[np.float64]

SLOPE = 0.35
"""How much lower a hat sits at the back: its rim lies on z + SLOPE (y + 0.10) = line, on the template."""


@dataclass(frozen=True)
class Hat:
    """One hat."""

    kind: str
    material: Material
    band: Material
    line: float
    """Height of the rim on the template, metres"""
    thickness: float
    crown: float
    brim: float

    @staticmethod
    def draw(seed: int, number: int) -> Hat:
        own = stream(PROPS, seed, number + (1 << 40))
        kind = choose(own, {"cap": 4, "beanie": 3, "fedora": 1.5, "bucket": 1.2})
        first, second = (PALETTE[int(own.integers(len(PALETTE)))] for _ in range(2))
        gain = between(own, 0.8, 1.4)
        r, g, b = (min(gain * value, 0.75) for value in first)
        line = {"cap": 0.944, "beanie": 0.938, "fedora": 0.946, "bucket": 0.942}[kind] + between(own, -0.003, 0.006)
        return Hat(
            kind, Material((r, g, b), between(own, 0.1, 0.6), roughness=0.85, specular=0.15, sheen=0.3),
            Material(second, between(own, 0.1, 0.6), roughness=0.8, specular=0.2), line, between(own, 0.008, 0.013),
            between(own, 0.6, 1.3), between(own, 0.85, 1.15),
        )  # fmt: skip


def put_on(hat: Hat, scalp: Scalp) -> list[Surface]:
    """The hat's surfaces in head coordinates."""
    azimuth = np.linspace(-np.pi, np.pi, 64, endpoint=False)
    rim_elevation = _rim(hat, scalp, azimuth)
    share = np.linspace(0.0, 1.0, 18)[:, None]
    elevation = rim_elevation + (np.pi / 2 - rim_elevation) * share
    lift = (
        hat.thickness
        + {"cap": 0.012, "beanie": 0.016, "fedora": 0.040, "bucket": 0.016}[hat.kind] * hat.crown * share**1.5
    )
    if hat.kind == "beanie":
        lift = lift + 0.0012 * (np.sin(azimuth * 40) > 0) + 0.004 * (share < 0.30)
    dome = _over(scalp, azimuth, elevation, lift)
    if hat.kind == "fedora":  # a dent along the top
        dent = np.exp(-(((dome[..., 0] - scalp.shift[0]) / 0.022) ** 2)) * share**6
        dome[..., 2] -= 0.020 * dent
    found = [Surface(*grid(dome, closed=True), material=hat.material, label="headwear", name="hat")]
    edge = dome[0]
    if hat.kind == "cap":
        found.append(
            Surface(
                *_peak(edge, azimuth, 0.070 * hat.brim),
                material=hat.band if hat.crown > 1.1 else hat.material,
                label="headwear",
                name="hat_peak",
            )
        )
        top = dome[-1].mean(axis=0)
        button = place(rounded_box((0.012, 0.012, 0.006), 0.8, 8), np.eye(3), top)
        found.append(Surface(*button, material=hat.band, label="headwear", name="hat_button"))
    if hat.kind in ("fedora", "bucket"):
        found.append(
            Surface(
                *_brim(edge, azimuth, 0.055 * hat.brim, drop=0.030 if hat.kind == "bucket" else 0.004),
                material=hat.material,
                label="headwear",
                name="hat_brim",
            )
        )
        rows = _over(scalp, azimuth, elevation[:4], lift[:4] + 0.0016)
        found.append(Surface(*grid(rows, closed=True), material=hat.band, label="headwear", name="hat_band"))
    return found


def _over(scalp: Scalp, azimuth: Floats, elevation: Floats, lift: Floats) -> Floats:
    rays = np.stack(
        [np.cos(elevation) * np.sin(azimuth), -np.cos(elevation) * np.cos(azimuth), np.sin(elevation) + 0 * azimuth],
        axis=-1,
    )
    _, skin = scalp.reach(scalp.centre + 0.1 * rays)
    return np.asarray(scalp.centre + rays * (skin + lift)[..., None])


def _rim(hat: Hat, scalp: Scalp, azimuth: Floats) -> Floats:
    """Elevation at which each azimuth crosses the rim's plane."""
    elevation = np.linspace(-0.6, 1.0, 60)[:, None]
    points = _over(scalp, azimuth, elevation + 0 * azimuth, np.full((60, 1), hat.thickness)) - scalp.shift
    height = points[..., 2] + SLOPE * (points[..., 1] + 0.10) - hat.line
    crossing = (height > 0).argmax(axis=0)
    return np.asarray(elevation[np.maximum(crossing, 1), 0])


def _peak(edge: Floats, azimuth: Floats, length: float) -> Solid:
    """A cap's peak: a bent sheet before the forehead, with some thickness."""
    front = np.abs(azimuth) < np.radians(62)
    line, angle = edge[front], azimuth[front]
    bow = np.cos(angle / np.radians(62) * np.pi / 2) ** 0.7
    rows = []
    for share, down in ((0.0, 0.0), (0.35, 0.0), (0.7, 0.0), (1.0, 0.0), (1.0, 0.003), (0.7, 0.003), (0.3, 0.003)):
        out = np.stack([0.25 * np.sin(angle), -bow, -0.18 * bow - 0.22 * (1 - bow)], axis=1)
        rows.append(line + share * length * out - np.array([0, 0, down + 0.002]))
    return grid(np.stack(rows))


def _brim(edge: Floats, azimuth: Floats, width: float, drop: float) -> Solid:
    out = np.stack([np.sin(azimuth), -np.cos(azimuth), np.zeros_like(azimuth)], axis=1)
    rows = [edge, edge + 0.5 * width * out - [0, 0, 0.4 * drop], edge + width * out - [0, 0, drop]]
    rows += [rows[2] - [0, 0, 0.003], rows[1] - [0, 0, 0.003], rows[0] - [0, 0, 0.002]]
    return join(grid(np.stack(rows), closed=True))
