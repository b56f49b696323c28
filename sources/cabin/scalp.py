"""Where hairs stand: roots on a person's skin, the skull they lie on, and how a strand grows over it.

scalp = Scalp(layout, vertices)
roots = scalp.roots(density, count, generator)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

from sources.cabin.layout import SKULL, Layout
from sources.cabin.surfaces import Material, Surface

Floats = npt.NDArray[np.float64]

ROWS, COLUMNS = 40, 80
"""Resolution of the skull's map: elevation, azimuth."""


@dataclass(frozen=True)
class Roots:
    """Points on the skin: position, outward normal, and position on the template, each [N, 3]."""

    at: Floats
    normal: Floats
    template: Floats

    def __len__(self) -> int:
        return len(self.at)

    def keep(self, mask: npt.NDArray[np.bool_]) -> Roots:
        return Roots(self.at[mask], self.normal[mask], self.template[mask])


class Scalp:
    """The skin of one person's head at rest."""

    def __init__(self, layout: Layout, vertices: Floats) -> None:
        self.layout = layout
        part = layout.anatomy.part("head")
        self.part = part
        surface = Surface(vertices[part.source], part.faces, part.uv, Material((0, 0, 0)), source=part.source)
        self.points, self.normals = surface.vertices, surface.normals()
        self.template = layout.anatomy.template[part.source]
        rows = np.unique(part.source, return_index=True)[1]
        shift = (self.points - self.template)[rows]
        upper = self.template[rows, 2] > 0.90
        self.centre = SKULL + shift[upper].mean(axis=0)
        """Middle of this person's skull"""
        self.shift = self.centre - SKULL
        self.radius = self._map(self.points[rows])

    def _map(self, points: Floats) -> Floats:
        """Distance of the skin from the skull's middle by direction: [ROWS, COLUMNS]."""
        offset = points - self.centre
        keep = (np.abs(points[:, 0]) < 0.083) | (points[:, 2] > self.centre[2])
        offset = offset[keep]
        distance = np.linalg.norm(offset, axis=1)
        elevation = np.linspace(-np.pi / 2, np.pi / 2, ROWS)[:, None]
        azimuth = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)[None, :]
        rays = np.stack(
            [
                np.cos(elevation) * np.sin(azimuth),
                -np.cos(elevation) * np.cos(azimuth),
                np.sin(elevation) + 0 * azimuth,
            ],
            axis=-1,
        ).reshape(-1, 3)
        away, index = cKDTree(offset / distance[:, None]).query(rays, k=4)
        weight = 1.0 / (away + 0.02) ** 2
        radius = (weight * distance[index]).sum(axis=1) / weight.sum(axis=1)
        return np.asarray(gaussian_filter(radius.reshape(ROWS, COLUMNS), 0.7, mode=("nearest", "wrap")))

    def reach(self, points: Floats) -> tuple[Floats, Floats]:
        """(distance of points from the skull's middle, distance of the skin in the same direction)."""
        offset = points - self.centre
        distance = np.linalg.norm(offset, axis=-1)
        elevation = np.arcsin(np.clip(offset[..., 2] / np.maximum(distance, 1e-9), -1, 1))
        azimuth = np.arctan2(offset[..., 0], -offset[..., 1])
        row = (elevation + np.pi / 2) / np.pi * (ROWS - 1)
        column = (azimuth + np.pi) / (2 * np.pi) * COLUMNS
        skin = map_coordinates(self.radius, [row.ravel(), column.ravel()], order=1, mode="grid-wrap")
        return distance, skin.reshape(distance.shape)

    def push_out(self, points: Floats, clearance: Floats | float) -> Floats:
        """Points moved to at least `clearance` above the skin."""
        distance, skin = self.reach(points)
        factor = np.maximum(1.0, (skin + clearance) / np.maximum(distance, 1e-6))
        return np.asarray(self.centre + (points - self.centre) * factor[..., None])

    def roots(self, density: Callable[[Floats], Floats], count: int, generator: np.random.Generator) -> Roots:
        """`count` roots spread over the skin by area times `density` of the template position (0 to 1)."""
        faces = self.part.faces
        corners = self.points[faces]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        middle = self.template[faces].mean(axis=1)
        weight = area * (np.asarray(density(middle)) > 0.003)
        face = generator.choice(len(faces), size=4 * count, p=weight / weight.sum())
        share = generator.dirichlet((1.0, 1.0, 1.0), size=4 * count)[:, :, None]
        template = (self.template[faces[face]] * share).sum(axis=1)
        kept = generator.random(4 * count) < np.asarray(density(template))
        kept &= np.cumsum(kept) <= count
        face, share, template = face[kept], share[kept], template[kept]
        normal = (self.normals[faces[face]] * share).sum(axis=1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        return Roots((self.points[faces[face]] * share).sum(axis=1), normal, template)
