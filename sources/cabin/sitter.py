"""One driver, built once and used for every moment: shape, face, skin, hair and what is worn.

sitter = Sitter(layout, person)
items = sitter.features(moved, expression, "nir", fatigue=0.3, look=EyeLook())
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from sources.cabin.assembly import build_shape
from sources.cabin.eyes import EyeLook, eyeballs, lashes_of, wet_parts
from sources.cabin.face import CHIN, Expression, Face
from sources.cabin.facial_hair import Grooming, beard, brows, paint
from sources.cabin.hair import hair
from sources.cabin.headwear import Hat, put_on
from sources.cabin.identity import Person, shape
from sources.cabin.layout import HAIRLINE, Layout
from sources.cabin.scalp import Scalp
from sources.cabin.skeleton import Skeleton
from sources.cabin.skin import SkinMaps, flat_albedo
from sources.cabin.surfaces import Item, Material, Strands, Surface
from sources.cabin.wig import Wig

Floats = npt.NDArray[np.float64]

SKIN = Material((0.5, 0.4, 0.3), roughness=0.46, specular=0.42, flatness=0.55, sheen=0.10)
"""How skin shines, whatever its colour."""


class Sitter:
    """A person with everything that no moment changes."""

    def __init__(self, layout: Layout, person: Person) -> None:
        anatomy = layout.anatomy
        self.layout, self.person = layout, person
        self.vertices = shape(anatomy, person)
        self.face = Face(anatomy, self.vertices)
        self.rig = Skeleton(anatomy, self.vertices)
        self.scalp = Scalp(layout, self.vertices)
        self.wig = Wig.draw(person)
        self.grooming = Grooming.draw(person, self.wig)
        self.maps = SkinMaps(layout, person)
        self.eyes = 0.5 * (self.face.centres["L"] + self.face.centres["R"])
        """The point between the eyes at rest"""
        self._shapes: dict[tuple[str, ...], dict[str, Any]] = {}

    @property
    def face_height(self) -> float:
        """Chin to hairline, metres."""
        return float(HAIRLINE[0, 1] + self.scalp.shift[2] - self.vertices[CHIN, 2])

    @cached_property
    def _paint(self) -> list[npt.NDArray[np.float32]]:
        covers = paint(self.layout.texels, self.scalp, self.wig, self.grooming)
        return [cover.astype(np.float32)[..., None] for cover in covers]

    @cached_property
    def _short_hair(self) -> list[tuple[Strands, npt.NDArray[np.int64]]]:
        """Brows and beard, with the vertex that each strand follows."""
        strands = brows(self.scalp, self.grooming) + beard(self.scalp, self.grooming)
        rows = np.unique(self.scalp.part.source)
        tree = cKDTree(self.vertices[rows])
        return [(item, rows[tree.query(item.points[:, 0])[1]]) for item in strands]

    def skin(self, sensor: str, fatigue: float) -> Material:
        """The head's skin with painted grounds of hair, brows and beard."""
        albedo = self.maps.albedo(sensor, fatigue)
        rgb, near = self.wig.paint
        scalp = np.full(3, near) if sensor == "nir" else rgb
        grounds = (scalp, self.grooming.colour.colour(sensor), self.grooming.brow.colour(sensor))
        for cover, ground in zip(self._paint, grounds, strict=True):
            albedo = albedo * (1 - cover) + ground.astype(np.float32) * cover
        colour = albedo.astype(np.float32)
        return replace(SKIN, rgb=colour, nir=colour, relief=self.maps.relief(fatigue))

    def flat_skin(self) -> Material:
        """Skin of hands and body: one colour, a little redder on hands."""
        r, g, b = (flat_albedo(self.person, "rgb") * np.array([0.98, 0.92, 0.90])).tolist()
        return replace(SKIN, rgb=(r, g, b), nir=float(flat_albedo(self.person, "nir")[0]))

    def features(self, moved: Floats, expression: Expression, sensor: str, fatigue: float, look: EyeLook) -> list[Item]:
        """What moves with the expression, in head coordinates; `moved` are the face's vertices there."""
        anatomy = self.layout.anatomy
        items: list[Item] = []
        head = anatomy.part("head")
        items.append(
            Surface(moved[head.source], head.faces, head.uv, self.skin(sensor, fatigue), "skin", head.source, "skin")
        )
        wet = Material((0.34, 0.11, 0.10), 0.34, roughness=0.25, specular=0.5)
        inner = Material((0.42, 0.20, 0.17), 0.42, roughness=0.4)
        teeth = Material((0.62, 0.57, 0.48), 0.55, roughness=0.2, specular=0.5)
        for name, material in (
            ("mouth", wet), ("left_socket", inner), ("right_socket", inner), ("upper_teeth", teeth),
            ("lower_teeth", teeth), ("tongue", wet)
        ):  # fmt: skip
            part = anatomy.part(name)
            label = "eyes" if "socket" in name else "skin"
            items.append(Surface(moved[part.source], part.faces, part.uv, material, label, part.source, name))
        items += eyeballs(self.face, self.person, expression.gaze_yaw, expression.gaze_pitch, look)
        items += wet_parts(self.face, self.layout, moved)
        items.append(lashes_of(self.face, self.layout, self.person, moved))
        for strands, rows in self._short_hair:
            points = strands.points + (moved - self.vertices)[rows][:, None]
            items.append(Strands(points, strands.radius, strands.material, name=strands.name))
        return items

    def worn(self, hat: Hat | None, sensor: str) -> dict[str, Any]:
        """Shapes of hair and hat, which move with the head and are built once for each sensor."""
        key = (sensor, repr(hat))
        if key not in self._shapes:
            if len(self._shapes) > 3:
                self._shapes.clear()
            items: list[Item] = list(hair(self.scalp, self.wig, hat.line if hat else None))
            items += put_on(hat, self.scalp) if hat else []
            self._shapes[key] = {item.name: build_shape(item, sensor) for item in items}
        return self._shapes[key]
