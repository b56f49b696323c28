"""The human that everything is built on: MakeHuman's CC0 base mesh, shape targets, face actions and rig.

    anatomy = load()                      # sources.cabin.packing
    anatomy.vertices                      # float64 [19158, 3], metres
    anatomy.target("nose-hump-incr")      # (vertex indices, offsets in metres)

Axes: x towards the subject's left, -y towards the front, z up. Gender 0 is male.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAP_SIZE = 384
"""Side of the head's texture maps in texels."""


@dataclass(frozen=True)
class Part:
    """A piece of the mesh with its own corners, since a vertex on a texture seam has two texture coordinates."""

    faces: Ints
    """[F, 3]: indices of corners"""
    source: Ints
    """[K]: the vertex of each corner"""
    uv: Floats
    """[K, 2], v upwards"""

    def keep(self, mask: npt.NDArray[np.bool_]) -> Part:
        """The triangles under `mask` [F], with the corners that they use."""
        faces = self.faces[mask]
        used, inverse = np.unique(faces, return_inverse=True)
        return Part(inverse.reshape(faces.shape).astype(np.int64), self.source[used], self.uv[used])


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The packed data; all lengths in metres."""

    arrays: dict[str, npt.NDArray[Any]]

    @cached_property
    def vertices(self) -> Floats:
        """The base mesh without any target: float64 [V, 3]."""
        return np.asarray(self.arrays["vertices"], dtype=np.float64)

    @cached_property
    def template(self) -> Floats:
        """An average adult, [V, 3]: everything that follows a person's shape is laid out on it."""
        return np.asarray(self.arrays["template"], dtype=np.float64)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {str(name): row for row, name in enumerate(self.arrays["target_names"])}

    @property
    def target_names(self) -> list[str]:
        return list(self._rows)

    def target(self, name: str) -> tuple[Ints, Floats]:
        """(indices [n], offsets [n, 3]) of a shape target or face action."""
        start, stop = self.arrays["target_starts"][self._rows[name] : self._rows[name] + 2]
        return self.arrays["target_indices"][start:stop], self.arrays["target_offsets"][start:stop]

    def add(self, vertices: Floats, name: str, weight: float) -> None:
        """Add `weight` times a target to `vertices` in place."""
        indices, offsets = self.target(name)
        vertices[indices] += weight * offsets

    @cached_property
    def changes(self) -> list[tuple[str, str, str, str]]:
        """Local changes of the face: (name, side `l`/`r`/empty, target for minus, target for plus or empty)."""
        return [(str(a), str(b), str(c), str(d)) for a, b, c, d in self.arrays["changes"]]

    def part(self, name: str) -> Part:
        return Part(*(self.arrays[f"part_{name}_{field}"] for field in ("faces", "source", "uv")))

    @cached_property
    def bones(self) -> dict[str, int]:
        return {str(name): row for row, name in enumerate(self.arrays["bone_names"])}

    @property
    def parents(self) -> Ints:
        """[B]: row of each bone's parent, -1 for the root; parents come first."""
        return self.arrays["bone_parents"]

    @property
    def joints(self) -> Ints:
        """[B, 2, 8]: vertices whose mean is a bone's head and tail."""
        return self.arrays["bone_joints"]

    @cached_property
    def weights(self) -> sparse.csr_matrix:
        """Skinning weights [V, B], rows summing to 1."""
        a = self.arrays
        shape = (len(self.vertices), len(self.bones))
        return sparse.csr_matrix((a["weight_values"], (a["weight_rows"], a["weight_columns"])), shape=shape)

    @property
    def map_positions(self) -> npt.NDArray[np.float32]:
        """Template position of each texel of the head's maps, float32 [MAP_SIZE, MAP_SIZE, 3]; row 0 is v = 0."""
        return self.arrays["map_positions"]

    @property
    def map_lips(self) -> npt.NDArray[np.float32]:
        """How much of each texel is lip, 0 to 1, float32 [MAP_SIZE, MAP_SIZE]."""
        return self.arrays["map_lips"]
