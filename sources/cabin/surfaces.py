"""What a scene is made of, before any renderer sees it: surfaces, strands, materials; and simple solids.

    cup = tube(path, radius=0.035)                       # (vertices, faces, uv)
    Surface(*cup, material=Material((0.8, 0.1, 0.1), nir=0.5), label="object")

Lengths in metres. A material has a colour for visible light and an albedo for the near infrared.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Solid = tuple[Floats, Ints, Floats]
"""vertices [V, 3], triangles [F, 3], texture coordinates [V, 2]"""

LABELS = ("cabin", "skin", "eyes", "hair", "glasses", "mask", "hand", "object", "clothes", "headwear")
"""Classes of a segmentation, in the order of their numbers."""


@dataclass(frozen=True)
class Material:
    """How a surface reflects; linear albedo. Maps are [H, W, 3] with v = 0 in the first row."""

    rgb: tuple[float, float, float] | npt.NDArray[Any]
    nir: float | npt.NDArray[Any] = 0.3
    roughness: float = 0.6
    specular: float = 0.35
    sheen: float = 0.0
    clearcoat: float = 0.0
    flatness: float = 0.0
    relief: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    """Height map [H, W] in millimetres"""
    transmittance: tuple[float, float] | None = None
    """A thin lens: what it lets through in visible light and in the near infrared."""

    def colour(self, sensor: str) -> npt.NDArray[Any]:
        """[3] or [H, W, 3] for one band."""
        value = np.asarray(self.nir if sensor == "nir" else self.rgb, dtype=np.float64)
        if value.ndim == 0:
            value = np.full(3, float(value))
        return np.repeat(value[..., None], 3, axis=-1) if value.ndim == 2 else value


@dataclass(frozen=True)
class Surface:
    """Triangles with one material; `source` joins corners that share a vertex, for smooth normals."""

    vertices: Floats
    faces: Ints
    uv: Floats
    material: Material
    label: str = "cabin"
    source: Ints | None = None
    name: str = ""
    flat: bool = False
    known: Floats | None = field(default=None, repr=False)
    """Vertex normals [V, 3], where they were computed before"""

    def moved(self, rotation: Floats, offset: Floats) -> Surface:
        known = None if self.known is None else self.known @ rotation.T
        return replace(self, vertices=self.vertices @ rotation.T + offset, known=known)

    def normals(self) -> Floats:
        """Unit vertex normals, weighted by area: [V, 3]."""
        if self.known is not None:
            return self.known
        merged = self.faces if self.source is None else self.source[self.faces]
        corners = self.vertices[self.faces]
        face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        rows = len(self.vertices) if self.source is None else int(self.source.max()) + 1
        corner = merged.ravel()
        total = np.stack([np.bincount(corner, np.repeat(face[:, k], 3), minlength=rows) for k in range(3)], axis=1)
        total = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
        return np.asarray(total if self.source is None else total[self.source])


@dataclass(frozen=True)
class Strands:
    """Hairs as smooth curves: points [S, P, 3], radius [S, P]."""

    points: Floats
    radius: Floats
    material: Material
    label: str = "hair"
    name: str = ""


Item = Surface | Strands


def grid(points: Floats, closed: bool = False) -> Solid:
    """A sheet through points [N, M, 3]; `closed` joins the last column to the first."""
    n, m = points.shape[:2]
    if closed:
        points = np.concatenate([points, points[:, :1]], axis=1)
        m += 1
    u, v = np.meshgrid(np.linspace(0, 1, m), np.linspace(0, 1, n))
    i, j = (index.ravel() for index in np.meshgrid(np.arange(n - 1), np.arange(m - 1), indexing="ij"))
    a, b, c, d = i * m + j, i * m + j + 1, (i + 1) * m + j + 1, (i + 1) * m + j
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    return points.reshape(-1, 3), faces, np.stack([u, v], axis=-1).reshape(-1, 2)


def tube(path: Floats, radius: float | Floats, sides: int = 8, closed: bool = False, flatten: float = 1.0) -> Solid:
    """A round (or flattened) tube along a path [N, 3]."""
    ahead = np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0) if closed else np.gradient(path, axis=0)
    ahead = ahead / np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-12)
    helper = np.array([0.0, 0.0, 1.0]) if np.abs(ahead[:, 2]).mean() < 0.8 else np.array([0.0, 1.0, 0.0])
    aside = np.cross(ahead, helper)
    aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-12)
    up = np.cross(aside, ahead)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    size = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(path),))[:, None, None]
    ring = np.cos(angle)[None, :, None] * aside[:, None] * flatten + np.sin(angle)[None, :, None] * up[:, None]
    points = path[:, None] + size * ring
    if closed:
        points = np.concatenate([points, points[:1]])
    return grid(points[:, ::-1], closed=True)


def capped(path: Floats, radius: float | Floats, sides: int = 10, flatten: float = 1.0) -> Solid:
    """A tube whose ends are closed."""
    size = np.broadcast_to(np.asarray(radius, dtype=np.float64), (len(path),))
    ends = np.concatenate([path[:1], path, path[-1:]])
    nudge = 1e-5 * (path[1] - path[0]) / np.linalg.norm(path[1] - path[0])
    ends[0] -= nudge
    ends[-1] += nudge
    return tube(ends, np.concatenate([[1e-5], size, [1e-5]]), sides, flatten=flatten)


def rounded_box(size: tuple[float, float, float], roundness: float = 0.25, resolution: int = 22) -> Solid:
    """A superellipsoid of full lengths `size` around the origin; roundness near 0 is a box, 1 an ellipsoid."""
    theta = np.linspace(-np.pi / 2, np.pi / 2, resolution)
    phi = np.linspace(-np.pi, np.pi, 2 * resolution, endpoint=False)

    def power(value: Floats) -> Floats:
        return np.asarray(np.sign(value) * np.abs(value) ** roundness)

    ct, st = power(np.cos(theta))[:, None], power(np.sin(theta))[:, None]
    points = np.stack([ct * power(np.cos(phi)), ct * power(np.sin(phi)), st * np.ones_like(phi)], axis=-1)
    return grid(points * np.array(size) / 2.0, closed=True)


def sphere(radius: float, resolution: int = 14) -> Solid:
    return rounded_box((2 * radius, 2 * radius, 2 * radius), 1.0, resolution)


def place(solid: Solid, rotation: Floats, offset: Floats | tuple[float, float, float]) -> Solid:
    """A solid turned, then moved."""
    return solid[0] @ rotation.T + np.asarray(offset), solid[1], solid[2]


def join(*solids: Solid) -> Solid:
    """Several solids as one."""
    vertices, faces, uv, count = [], [], [], 0
    for points, triangles, coordinates in solids:
        vertices.append(points)
        faces.append(triangles + count)
        uv.append(coordinates)
        count += len(points)
    return np.concatenate(vertices), np.concatenate(faces), np.concatenate(uv)
