"""Where things lie on a head: lid margins, brows, hairline, beard, wrinkles; all in the template's coordinates.

A feature is a formula over template positions (metres) and follows each person through the mesh's vertices and
the texture map, so that it needs no fitting.

    layout = Layout(anatomy)
    layout.brows(points)                 # 0 to 1 for float [..., 3]
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from sources.cabin.anatomy import Anatomy
from sources.cabin.face import INNER, OUTER

Floats = npt.NDArray[np.float64]
Field = npt.NDArray[np.float32]

EYE = np.array([0.0312, -0.130, 0.9015])
"""Centre of the template's left eyeball."""
MOUTH = np.array([0.0, -0.160, 0.8287])
SKULL = np.array([0.0, -0.045, 0.925])
"""Middle of the skull: azimuths of the hairline are taken around it."""

HAIRLINE = np.array(
    [
        (0, 0.966), (18, 0.967), (34, 0.966), (46, 0.957), (56, 0.940), (64, 0.922), (70, 0.897), (78, 0.884),
        (85, 0.893), (92, 0.912), (102, 0.906), (112, 0.880), (130, 0.850), (155, 0.838), (180, 0.834),
    ]
)  # fmt: skip
"""(azimuth in degrees, height) below which no hair grows; 0 is the front."""


class Layout:
    """Fields on the template; the costly ones are computed once a process."""

    def __init__(self, anatomy: Anatomy) -> None:
        self.anatomy = anatomy
        self.texels = np.asarray(anatomy.map_positions, dtype=np.float64)

    @cached_property
    def margins(self) -> dict[str, dict[str, npt.NDArray[np.int64]]]:
        """Vertices of the lid margins from the inner to the outer corner: margins["L"]["upper"]."""
        template, head = self.anatomy.template, self.anatomy.part("head").source
        found: dict[str, dict[str, npt.NDArray[np.int64]]] = {}
        for side, socket in (("L", "left_socket"), ("R", "right_socket")):
            rim = np.intersect1d(head, self.anatomy.part(socket).source)
            x = np.abs(template[rim, 0])
            inner, outer = template[INNER["L"]], template[OUTER["L"]]
            line = inner[2] + (x - inner[0]) / (outer[0] - inner[0]) * (outer[2] - inner[2])
            order = np.argsort(x)
            above = template[rim, 2] >= line
            found[side] = {"upper": rim[order][above[order]], "lower": rim[order][~above[order]]}
        return found

    @cached_property
    def lid_distance(self) -> tuple[Field, Field]:
        """Distance of each texel to the upper and the lower lid margins, metres."""
        distances = []
        for which in ("upper", "lower"):
            lines = [self.anatomy.template[self.margins[side][which]] for side in "LR"]
            dense = np.concatenate([_densify(line) for line in lines])
            distances.append(cKDTree(dense).query(self.texels, workers=1)[0].astype(np.float32))
        return distances[0], distances[1]

    @cached_property
    def azimuth(self) -> Field:
        return azimuth(self.texels).astype(np.float32)

    def hair(self, points: Floats, recede: float = 0.0) -> Floats:
        """How far above the hairline points lie, metres; `recede` moves temples and front back (0 to 1)."""
        degrees = azimuth(points)
        line = np.interp(degrees, HAIRLINE[:, 0], HAIRLINE[:, 1])
        temples = 0.030 * np.exp(-(((degrees - 34.0) / 16.0) ** 2)) + 0.016 * np.exp(-((degrees / 26.0) ** 2))
        return np.asarray(points[..., 2] - line - recede * temples)

    def brows(self, points: Floats, height: float = 0.0, thickness: float = 1.0, arch: float = 0.5) -> Floats:
        """Density of the brows, 0 to 1."""
        along, across = brow_coordinates(points, height, arch)
        half = thickness * np.interp(along, [0.0, 0.15, 0.6, 1.0], [0.0037, 0.0046, 0.0036, 0.0012])
        inside = 1.0 / (1.0 + np.exp(-(half - np.abs(across)) / 0.0007))
        ends = np.clip((along + 0.04) / 0.10, 0, 1) * np.clip((1.04 - along) / 0.12, 0, 1)
        return np.where(points[..., 1] < -0.10, inside * ends, 0.0)

    def beard(self, points: Floats) -> Floats:
        """Where a full beard grows, 0 to 1."""
        x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
        cheek = np.interp(x, [0.0, 0.018, 0.030, 0.045, 0.060, 0.075], [0.842, 0.842, 0.828, 0.836, 0.852, 0.885])
        low = np.interp(y, [-0.16, -0.10, -0.06], [0.776, 0.782, 0.800])
        lips = (np.hypot(x / 0.027, (z - MOUTH[2]) / 0.0105) > 1.0) | (y > -0.12)
        nose = 1.0 - np.exp(-((x / 0.012) ** 2)) * np.clip((z - 0.845) / 0.004, 0, 1)
        inside = _soft(cheek - z, 0.0025) * _soft(z - low, 0.004) * _soft(-0.052 - y, 0.004)
        return np.where(lips, inside * nose, 0.0)

    def moustache(self, points: Floats) -> Floats:
        x, z = np.abs(points[..., 0]), points[..., 2]
        inside = _soft(0.846 - z, 0.0012) * _soft(z - (0.836 - 0.22 * np.maximum(x - 0.018, 0)), 0.0012)
        return np.where(points[..., 1] < -0.13, inside * _soft(0.028 - x, 0.002), 0.0)

    def goatee(self, points: Floats) -> Floats:
        x, z = np.abs(points[..., 0]), points[..., 2]
        inside = _soft(0.822 - z, 0.002) * _soft(z - 0.790, 0.003) * _soft(0.022 - x, 0.003)
        return np.where(
            points[..., 1] < -0.12, np.maximum(inside, self.moustache(points)) * (self.beard(points) > 0.2), 0.0
        )


def azimuth(points: Floats) -> Floats:
    """Degrees around the skull's middle from the front, 0 to 180, both sides alike."""
    return np.asarray(np.degrees(np.arctan2(np.abs(points[..., 0]), -(points[..., 1] - SKULL[1]))))


def brow_coordinates(points: Floats, height: float = 0.0, arch: float = 0.5) -> tuple[Floats, Floats]:
    """(share of the way from the inner end to the tail, metres above the brow's middle line)."""
    along = (np.abs(points[..., 0]) - 0.0115) / 0.0465
    knots = np.array([0.0, 0.25, 0.6, 0.8, 1.0])
    lift = np.array([0.0200, 0.0235 + 0.001 * arch, 0.0250 + 0.004 * arch, 0.0225 + 0.003 * arch, 0.0150])
    middle = EYE[2] - 0.001 + height + np.interp(along, knots, lift)
    return along, points[..., 2] - middle


def _soft(value: Floats, width: float) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(value / width, -30, 30))))


def _densify(line: Floats, pieces: int = 8) -> Floats:
    share = np.linspace(0.0, 1.0, pieces, endpoint=False)[:, None, None]
    return np.concatenate([((1 - share) * line[:-1] + share * line[1:]).reshape(-1, 3), line[-1:]])
