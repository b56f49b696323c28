"""Brows and beards: short strands over a painted ground.

grooming = Grooming.draw(person, wig)
strands = brows(scalp, grooming) + beard(scalp, grooming)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sources.cabin.identity import Person
from sources.cabin.layout import MOUTH, Layout, brow_coordinates
from sources.cabin.scalp import Roots, Scalp
from sources.cabin.streams import HAIR, between, choose, stream
from sources.cabin.surfaces import Material, Strands
from sources.cabin.wig import COLOURS, NIR, Wig

Floats = npt.NDArray[np.float64]

LIP_EDGE = MOUTH[2] + 0.009
"""Upper edge of the red of the upper lip on the template, metres"""
BROW_GREY = (0.27, 0.25, 0.215)
"""Grey brows: warmer than grey hair, which looks blue over skin."""


@dataclass(frozen=True)
class Grooming:
    """Brows and beard of a person."""

    brow_height: float
    brow_thickness: float
    brow_arch: float
    beard: str
    length: float
    colour: Material
    brow: Material
    brow_density: float
    """Share of the brow's ground that strands and paint cover, 0 to 1"""
    shadow: float
    """How dark a shaved beard shows through, 0 to 1"""
    seed: tuple[int, int]

    @staticmethod
    def draw(person: Person, wig: Wig) -> Grooming:
        own = stream(HAIR, person.seed, person.subject + (1 << 32))
        beard = choose(own, {"none": 4.5, "stubble": 2.5, "full": 2.0, "goatee": 0.8, "moustache": 0.7})
        height, thick, arch = (between(own, -1.0, 1.0) for _ in range(3))
        woman = person.is_woman
        main, _ = wig.materials()
        rgb = np.minimum(np.asarray(main.rgb) * (1.0 if wig.grey > 0.3 else 0.8), 0.45)
        if wig.colour == "blond" and wig.grey < 0.3:
            rgb = rgb * 0.6
        r, g, b = rgb.tolist()
        base = np.array(COLOURS[wig.colour]) * (0.6 if wig.colour in ("blond", "light") else 1.0)
        if woman and wig.colour in ("black", "dark"):
            base = 0.5 * (base + np.array(COLOURS["brown"]))  # thin brows let skin shine through
        grey = wig.grey**1.5 * 0.9  # brows grey a little later than the head, and stay warmer
        mixed = base * (1 - grey) + np.array(BROW_GREY) * grey
        dark = 0.85 * (NIR[wig.colour] * (1 - grey) + NIR["white"] * grey)
        return Grooming(
            0.0012 * height + (0.0012 if woman else -0.0012),
            0.52 + 0.14 * thick if woman else 1.05 + 0.2 * thick,
            (0.75 if woman else 0.2) + 0.25 * arch, "none" if woman else beard, between(own, 0.0, 1.0),
            Material((r, g, b), float(np.asarray(main.nir)) * 0.8, roughness=0.4, specular=0.4),
            Material((float(mixed[0]), float(mixed[1]), float(mixed[2])), dark, roughness=0.4, specular=0.4),
            0.55 if woman else 1.0,
            0.0 if woman else between(own, 0.1, 0.6), (person.seed, person.subject),
        )  # fmt: skip

    def brows(self, layout: Layout, points: Floats) -> Floats:
        """Density of the brows on template positions [..., 3], 0 to 1: thin out at the inner end and the tail."""
        along, _ = brow_coordinates(points, self.brow_height, self.brow_arch)
        inside = layout.brows(points, self.brow_height, self.brow_thickness, self.brow_arch)
        return inside * np.interp(along, [0.0, 0.22, 0.65, 1.0], [0.45, 1.0, 0.9, 0.4])

    def _own(self, part: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=list(self.seed), counter=[0, 0, HAIR, part]))


def brows(scalp: Scalp, grooming: Grooming) -> list[Strands]:
    own = grooming._own(2)
    roots = scalp.roots(lambda points: grooming.brows(scalp.layout, points), int(420 * grooming.brow_density), own)
    along, across = brow_coordinates(roots.template, grooming.brow_height, grooming.brow_arch)
    side = np.sign(roots.template[:, 0])
    out = np.stack([side, np.zeros(len(side)), np.interp(along, [0, 0.25, 0.65, 1.0], [1.1, 0.45, 0.0, -0.35])], axis=1)
    out[:, 2] -= np.clip(across / 0.004, -1, 1) * 0.35
    length = 0.0075 * np.interp(along, [0, 0.3, 1.0], [0.75, 1.0, 0.75]) * (0.8 + 0.4 * own.random(len(side)))
    return _short(roots, out, length, 0.00021 * grooming.brow_density**0.3, 0.35, grooming.brow, "brows", own)


def beard(scalp: Scalp, grooming: Grooming) -> list[Strands]:
    """Strands of a beard; stubble is painted only."""
    if grooming.beard in ("none", "stubble"):
        return []
    own, layout = grooming._own(3), scalp.layout
    area = {
        "full": lambda p: np.maximum(layout.beard(p), layout.moustache(p)),
        "goatee": layout.goatee,
        "moustache": layout.moustache,
    }
    roots = scalp.roots(area[grooming.beard], {"full": 2200, "goatee": 900, "moustache": 500}[grooming.beard], own)
    aside = np.sign(roots.template[:, :1]) * np.array([[0.5, 0, 0]]) * (roots.template[:, 2:] > 0.832)
    out = np.array([0.0, 0.0, -1.0]) + aside
    length = (0.005 + (0.014 if grooming.beard == "full" else 0.006) * grooming.length) * (
        0.7 + 0.6 * own.random(len(roots))
    )
    x, z = np.abs(roots.template[:, 0]), roots.template[:, 2]
    lip = (
        (z > MOUTH[2] + 0.004) & (x < 0.030) & (roots.template[:, 1] < -0.12)
    )  # a moustache ends above the red of lips
    out[lip] = np.stack([np.sign(roots.template[:, 0]), 0.0 * x, -0.5 + 0.0 * x], axis=1)[lip]
    length = np.where(lip, np.minimum(length, 0.0035 + 1.2 * np.maximum(z - LIP_EDGE, 0.0)), length)
    return _short(roots, out, length, 0.00026, 0.55, grooming.colour, "beard", own)


def _short(
    roots: Roots,
    along: Floats,
    length: Floats,
    radius: float,
    lift: float,
    colour: Material,
    name: str,
    own: np.random.Generator,
) -> list[Strands]:
    if len(roots) < 5:
        return []
    tangent = along - roots.normal * (along * roots.normal).sum(axis=1, keepdims=True)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    first = tangent + lift * roots.normal + 0.22 * own.standard_normal((len(roots), 3))
    step = np.linspace(0.0, 1.0, 5)
    bend = first[:, None] * step[None, :, None] - 0.4 * lift * roots.normal[:, None] * (step**2)[None, :, None]
    points = roots.at[:, None] + length[:, None, None] * bend
    return [Strands(points, radius * (1.0 - 0.6 * step)[None] * np.ones((len(roots), 1)), colour, name=name)]


def paint(layout_points: Floats, scalp: Scalp, wig: Wig, grooming: Grooming) -> tuple[Floats, Floats, Floats]:
    """(cover of hair, of beard, of brows) on template positions [..., 3], 0 to 1: the ground below strands."""
    layout = scalp.layout
    head = 1.0 / (1.0 + np.exp(-np.clip(layout.hair(layout_points, wig.recede) / 0.0035, -30, 30)))
    head = np.where((np.abs(layout_points[..., 0]) > 0.0755) & (layout_points[..., 2] < 0.912), 0.0, head)
    head = head * (0.25 if wig.scalp_shows else 0.88)
    brow = grooming.brows(layout, layout_points)
    chin = np.maximum(layout.beard(layout_points), layout.moustache(layout_points))
    cover = {"none": 0.30 * grooming.shadow, "stubble": 0.50, "full": 0.8}.get(
        grooming.beard, 0.25 * grooming.shadow
    ) * chin
    if grooming.beard == "goatee":
        cover = np.maximum(cover, 0.8 * layout.goatee(layout_points))
    if grooming.beard == "moustache":
        cover = np.maximum(cover, 0.8 * layout.moustache(layout_points))
    return head, cover, 0.58 * grooming.brow_density * brow
