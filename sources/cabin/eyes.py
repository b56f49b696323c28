"""Eyes: balls with an iris and a cornea that turn exactly with the gaze, tear line, caruncle and lashes.

surfaces = eyeballs(face, person, yaw=10, pitch=-5, look=EyeLook(...))
lashes = lashes_of(face, layout, person, vertices)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from sources.cabin.face import Face
from sources.cabin.identity import Person
from sources.cabin.layout import Layout
from sources.cabin.skeleton import gaze_rotation
from sources.cabin.streams import SKIN, stream
from sources.cabin.surfaces import Material, Strands, Surface, grid, sphere, tube

Floats = npt.NDArray[np.float64]

CAP = np.radians(82.0)
"""How far round from the pupil an eyeball is drawn."""
IRIS = 0.0068
"""Radius of the iris: the mesh has eyeballs larger than life, and this keeps half-shut eyes readable."""
BULGE = 0.026
"""How much the cornea stands out, in radii of the ball."""
RINGS, SPOKES = 36, 48
TEXTURE = (128, 192)


@dataclass(frozen=True)
class EyeLook:
    """What changes an eye's look from moment to moment."""

    pupil: float = 0.4
    """Radius of the pupil over that of the iris"""
    redness: float = 0.0
    glow: float = 0.0
    """How much of the lamp's light the retina sends back (a lamp beside the lens), 0 to 1"""


def eyeballs(face: Face, person: Person, yaw: float, pitch: float, look: EyeLook) -> list[Surface]:
    """Both eyes in head coordinates, looking `yaw`, `pitch` degrees away from straight ahead."""
    turn = gaze_rotation(yaw, pitch)
    material = _eye_material(person, look, face.ball)
    found = []
    for side, centre in face.centres.items():
        points = _ball(face.ball) @ turn.T + centre
        found.append(Surface(*grid(points, closed=True), material=material, label="eyes", name=f"eye_{side}"))
    return found


def cornea(face: Face, side: str, yaw: float, pitch: float) -> Floats:
    """The point in the middle of the pupil, on the cornea."""
    forward = gaze_rotation(yaw, pitch) @ np.array([0.0, -1.0, 0.0])
    return np.asarray(face.centres[side] + forward * face.ball * (1.0 + BULGE))


def _ball(radius: float) -> Floats:
    """Points [RINGS, SPOKES, 3] of a ball around the origin that looks along -y; rows go from the pupil outwards."""
    iris = np.arcsin(IRIS / radius)
    angle = np.linspace(0.002, CAP, RINGS)[:, None]
    spoke = np.linspace(0, 2 * np.pi, SPOKES, endpoint=False)[None, :]
    stand = np.clip(1.0 - (angle / (1.08 * iris)) ** 2, 0.0, 1.0) ** 0.8
    size = radius * (1.0 + BULGE * stand)
    x, z = np.sin(angle) * np.cos(spoke), np.sin(angle) * np.sin(spoke)
    return np.stack([size * x, -size * np.cos(angle) * np.ones_like(spoke), size * z], axis=-1)


def _eye_material(person: Person, look: EyeLook, ball: float) -> Material:
    """Polar maps: rows from the pupil outwards, columns around."""
    rows, columns = TEXTURE
    generator = stream(SKIN, person.seed, person.subject + (1 << 32))
    fibres = gaussian_filter(generator.standard_normal((rows, columns)), (6.0, 0.9), mode=("nearest", "wrap"))
    fibres /= fibres.std()
    veins = np.clip(
        gaussian_filter(generator.standard_normal((rows, columns)), (7.0, 1.0), mode=("nearest", "wrap")), 0, None
    )
    veins /= veins.max()
    angle = (np.arange(rows) + 0.5)[:, None] / rows * CAP
    share = ball * np.sin(angle) / IRIS  # 1 at the edge of the iris
    pupil = _step(look.pupil - share, 0.035)
    iris = _step(1.0 - share, 0.045)
    ring = np.exp(-(((share - 0.95) / 0.09) ** 2))
    collar = np.exp(-(((share - look.pupil - 0.12) / 0.10) ** 2))
    shade = (1.0 + 0.28 * fibres) * (1.0 - 0.55 * ring) * (1.0 + 0.25 * collar)
    coloured = 0.75 * np.array(person.iris) * np.clip(shade, 0.2, 2.0)[..., None]
    white = np.array([0.56, 0.53, 0.505]) - 0.04 * person.years * np.array([0.2, 0.6, 1.6])
    edge = np.clip((share - 1.2) / 1.6, 0.0, 1.0)[..., None]
    red = (0.18 + 0.85 * look.redness) * edge + 0.9 * (0.2 + look.redness) * edge * veins[..., None]
    sclera = white * np.exp(-red * np.array([0.06, 0.42, 0.40]))
    rgb = sclera * (1 - iris[..., None]) + coloured * iris[..., None]
    rgb = rgb * (1 - pupil[..., None]) + 0.004 * pupil[..., None]
    level = 0.20 + 0.40 * float(np.mean(person.iris))
    nir_iris = level * np.clip(1.0 + 0.16 * fibres, 0.4, 1.6) * (1.0 - 0.45 * ring)
    nir = (0.54 - 0.05 * edge[..., 0]) * (1 - iris) + nir_iris * iris
    nir = nir * (1 - pupil) + (0.006 + 0.75 * look.glow) * pupil
    return Material(
        rgb.astype(np.float32), nir.astype(np.float32), roughness=0.12, specular=0.22, clearcoat=0.35, flatness=0.2
    )


def wet_parts(face: Face, layout: Layout, vertices: Floats) -> list[Surface]:
    """The tear line on the lower lid and the caruncle in the inner corner, in head coordinates."""
    found = []
    tear = Material((0.62, 0.42, 0.38), nir=0.52, roughness=0.08, specular=0.6, clearcoat=1.0)
    pink = Material((0.50, 0.26, 0.23), nir=0.48, roughness=0.25, specular=0.5, clearcoat=0.6)
    for side, centre in face.centres.items():
        line = vertices[layout.margins[side]["lower"]]
        line = line + 0.0003 * _unit(centre - line)
        found.append(Surface(*tube(_smooth(line), 0.00042, 6), material=tear, label="eyes", name=f"tear_{side}"))
        inner = vertices[face.corners[side][0]]
        outer = vertices[face.corners[side][1]]
        at = inner + 0.0016 * _unit(outer - inner) + 0.0012 * _unit(centre - inner)
        blob = sphere(0.0019, 8)
        points = blob[0] * np.array([1.1, 0.7, 0.8]) + at
        found.append(Surface(points, blob[1], blob[2], material=pink, label="eyes", name=f"caruncle_{side}"))
    return found


def lashes_of(face: Face, layout: Layout, person: Person, vertices: Floats, points: int = 6) -> Strands:
    """Upper and lower lashes that stand on the lids as they are now: strands [S, P, 3] in head coordinates."""
    generator = stream(SKIN, person.seed, person.subject + (2 << 32))
    made_up = person.is_woman
    all_points, all_radius = [], []
    for side, centre in face.centres.items():
        for which, count, length in (("upper", 64, 0.0092 if made_up else 0.0068), ("lower", 34, 0.0042)):
            line = _smooth(vertices[layout.margins[side][which]])
            share = np.clip(np.linspace(0.10, 0.97, count) + 0.01 * generator.standard_normal(count), 0.05, 0.99)
            root = _along(line, share)
            out = _unit(root - centre)
            sideways = (np.sign(centre[0]) * np.array([1.0, 0, 0]))[None] * (share[:, None] - 0.42) * 0.9
            up = np.array([0.0, 0.0, 1.0 if which == "upper" else -1.0])
            first = _unit(out + sideways + 0.05 * up + 0.05 * generator.standard_normal((count, 3)))
            curl = 0.85 if which == "upper" else 0.35
            size = (
                length
                * np.interp(share, [0, 0.2, 0.7, 1.0], [0.55, 0.85, 1.1, 0.8])
                * (0.85 + 0.3 * generator.random(count))
            )
            step = np.linspace(0.0, 1.0, points)
            bend = first[:, None] * step[None, :, None] + up * (curl * step**2)[None, :, None]
            all_points.append(root[:, None] + size[:, None, None] * bend)
            all_radius.append(np.full((count, 1), 0.00016 if made_up else 0.00012) * (1.0 - 0.75 * step)[None])
    dark = Material((0.012, 0.009, 0.008), nir=0.07, roughness=0.4, specular=0.4)
    return Strands(np.concatenate(all_points), np.concatenate(all_radius), dark, name="lashes")


def _along(line: Floats, share: Floats) -> Floats:
    """Points at shares of the length of a line [N, 3]."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    return np.stack([np.interp(share * length[-1], length, line[:, axis]) for axis in range(3)], axis=-1)


def _smooth(line: Floats) -> Floats:
    """A line resampled evenly."""
    return _along(line, np.linspace(0.0, 1.0, 24))


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))


def _step(value: Floats, width: float) -> Floats:
    """A soft threshold at 0."""
    return np.asarray(np.clip(0.5 + value / (2 * width), 0.0, 1.0))
