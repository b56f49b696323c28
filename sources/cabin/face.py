"""Facial expression: face actions for a condition, lids and lips solved for the openness that was asked.

    face = Face(anatomy, vertices)
    moved, measured = face.express(Expression(eyes=0.3, mouth=0.1))

Openness is a gap over the person's own fully open gap, measured on the mesh; the measured value is the label.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sources.cabin.anatomy import Anatomy

Floats = npt.NDArray[np.float64]

UPPER = {"L": (13359, 13352, 13353, 13358)}
LOWER = {"L": (13368, 13370, 13372, 13373)}
"""Vertices of the lid margins of the subject's left eye, pairwise above each other; the right eye's by mirror."""
INNER, OUTER = {"L": 7769}, {"L": 6804}
UPPER_LIP, LOWER_LIP = 474, 523
NOSE_TIP, NOSE_BRIDGE, CHIN = 5054, 132, 5162
MOUTH_CORNER = np.array([0.0246, -0.1468, 0.8283])
BROW_ENDS = (np.array([0.0125, -0.152, 0.9225]), np.array([0.0565, -0.125, 0.918]))
"""Corner of the mouth, inner and outer end of a brow on the template's left side."""
_SIGNS = {"L": np.array([1.0, 1.0, 1.0]), "R": np.array([-1.0, 1.0, 1.0])}

WIDE = 0.10
"""How far the eyes of a fully open gaze are widened."""
LIFT = 0.25
"""How far above its rest the upper lid may be raised to keep the openness asked for (in blinks)."""
LOOK_UP = 2.0
"""Both lids follow a gaze upwards, or half-shut eyes would show their whites alone."""
JAW = 0.80
"""Face action `jawOpen` of a mouth that is fully open."""
ABOVE = 0.0006
"""How far the pupil of a straight gaze lies above the middle of the open lids, metres."""
LOWER_LID = 0.45
"""How much of a squint comes with a blink: the lower lid rises too."""
LOOK_DOWN, SINK = 0.7, 0.8
"""Both lids follow a gaze downwards, the lower one by as much less squint; the upper one then keeps the gap."""
CLEAR = 1.05
"""Lids lie on a sphere of this many eyeball radii."""


@dataclass(frozen=True)
class Expression:
    """What a face does at one moment."""

    eyes: float = 1.0
    mouth: float = 0.0
    gaze_yaw: float = 0.0
    gaze_pitch: float = 0.0
    actions: tuple[tuple[str, float], ...] = ()
    """Other face actions and their strength, 0 to 1"""


@dataclass(frozen=True)
class Measured:
    """Gaps on the mesh, as shares of the fully open ones."""

    eyes: float
    mouth: float


class Face:
    """The face of one person at rest, ready to move."""

    def __init__(self, anatomy: Anatomy, vertices: Floats) -> None:
        self.anatomy, self.rest = anatomy, vertices
        mirror = _mirror(anatomy)
        self.upper = {"L": np.array(UPPER["L"]), "R": mirror[list(UPPER["L"])]}
        self.lower = {"L": np.array(LOWER["L"]), "R": mirror[list(LOWER["L"])]}
        self.corners = {"L": (INNER["L"], OUTER["L"]), "R": (int(mirror[INNER["L"]]), int(mirror[OUTER["L"]]))}
        self.mouth_corners = {side: _nearest(anatomy, sign * MOUTH_CORNER) for side, sign in _SIGNS.items()}
        self.brow_ends = {
            side: tuple(_nearest(anatomy, sign * end) for end in BROW_ENDS) for side, sign in _SIGNS.items()
        }
        self.centres = {side: self._centre(side) for side in "LR"}
        self.ball = self._ball()
        """Radius of this person's eyeballs, metres"""
        self.lids = self._lid_vertices()
        self.open_gap = self._eye_gap(self._moved(Expression(), 0.0))
        self.shut_lips = self._lip_gap(vertices)
        opened = self._act(vertices, {"jawOpen": JAW})
        self.open_mouth = self._lip_gap(opened) - self.shut_lips

    def express(self, expression: Expression) -> tuple[Floats, Measured]:
        """The face's vertices [V, 3] and what was measured on them."""
        low, high = -LIFT, 1.0
        goal = float(np.clip(expression.eyes, 0.0, 1.0)) * self.open_gap
        for _ in range(13):
            blink = 0.5 * (low + high)
            low, high = (blink, high) if self._eye_gap(self._moved(expression, blink)) > goal else (low, blink)
        blink = 0.5 * (low + high)
        slack = self._lip_gap(self._moved(replace(expression, mouth=0.0), blink)) - self.shut_lips
        jaw = float(np.clip(expression.mouth - slack / self.open_mouth, -0.04, 1.0))
        moved = self._moved(replace(expression, mouth=jaw), blink)
        eyes = self._eye_gap(moved) / self.open_gap
        mouth = (self._lip_gap(moved) - self.shut_lips) / self.open_mouth
        return moved, Measured(float(np.clip(eyes, 0.0, 1.0)), float(np.clip(mouth, 0.0, 1.0)))

    def eye_outline(self, side: str) -> list[int]:
        """Vertices of the lid margins and corners of an eye."""
        return [*self.upper[side].tolist(), *self.lower[side].tolist(), *self.corners[side]]

    def outline(self, moved: Floats) -> Floats:
        """Points [N, 3] that a box around brows, eyes, nose, mouth and chin has to hold."""
        ends = [row for side in "LR" for row in (*self.brow_ends[side], self.mouth_corners[side])]
        return moved[[*self.eye_outline("L"), *self.eye_outline("R"), *ends, NOSE_TIP, CHIN]]

    def _moved(self, expression: Expression, blink: float) -> Floats:
        weights = dict(expression.actions)
        wide = min(max(0.0, 1.0 - 3.0 * blink), 1.0) * WIDE
        up, down = max(expression.gaze_pitch, 0.0) / 30.0, max(-expression.gaze_pitch, 0.0) / 30.0
        for side, outward in (("Left", 1.0), ("Right", -1.0)):
            weights[f"eyeBlink{side}"] = blink
            weights[f"eyeWide{side}"] = wide
            weights[f"eyeLookUp{side}"], weights[f"eyeLookDown{side}"] = min(LOOK_UP * up, 1.4), LOOK_DOWN * down
            turned = expression.gaze_yaw * outward / 35.0
            weights[f"eyeLookOut{side}"], weights[f"eyeLookIn{side}"] = max(turned, 0.0), max(-turned, 0.0)
            weights[f"eyeSquint{side}"] = (
                weights.get(f"eyeSquint{side}", 0.0) + LOWER_LID * max(blink, 0.0) - SINK * down
            )
        weights["jawOpen"] = JAW * expression.mouth
        moved = self._act(self.rest, weights)
        return self._clear_of_eyes(moved)

    def _act(self, vertices: Floats, weights: dict[str, float]) -> Floats:
        moved: Floats = vertices.copy()
        for name, weight in weights.items():
            if weight:
                self.anatomy.add(moved, name, weight)
        return moved

    def _clear_of_eyes(self, moved: Floats) -> Floats:
        """Push what a straight-line blink drew into the eyeballs out again."""
        for side in "LR":
            rows, centre = self.lids[side], self.centres[side]
            offset = moved[rows] - centre
            radius = np.linalg.norm(offset, axis=1, keepdims=True)
            moved[rows] = centre + offset * np.maximum(1.0, CLEAR * self.ball / radius)
        return moved

    def _eye_gap(self, moved: Floats) -> float:
        """Mean distance of the lid margins over both eyes in metres; lids that cross count as shut."""
        gaps = []
        for side in "LR":
            apart = moved[self.upper[side]] - moved[self.lower[side]]
            gaps.append(np.where(apart[:, 2] > 0, np.linalg.norm(apart, axis=1), 0.0).mean())
        return float(np.mean(gaps))

    def _lip_gap(self, moved: Floats) -> float:
        return float(moved[UPPER_LIP, 2] - moved[LOWER_LIP, 2])

    def _centre(self, side: str) -> Floats:
        """The eye's bone, at the height where the lids frame the iris as in people: its joint sits higher."""
        centre = np.asarray(self.rest[self.anatomy.joints[self.anatomy.bones[f"eye.{side}"], 0]].mean(axis=0))
        middle = float(self.rest[[*self.upper[side], *self.lower[side]], 2].mean())
        return np.array([centre[0], centre[1], middle + ABOVE])

    def _ball(self) -> float:
        """Radius of the person's eyeballs, from the mesh's own."""
        vertices = np.unique(self.anatomy.part("left_eye").source)
        return float(np.percentile(np.linalg.norm(self.rest[vertices] - self.centres["L"], axis=1), 30))

    def _lid_vertices(self) -> dict[str, npt.NDArray[np.int64]]:
        """Skin in front of each eyeball."""
        head = np.unique(self.anatomy.part("head").source)
        found = {}
        for side, centre in self.centres.items():
            offset = self.rest[head] - centre
            near = (np.linalg.norm(offset, axis=1) < 0.024) & (offset[:, 1] < 0.0)
            found[side] = head[near]
        return found


def _nearest(anatomy: Anatomy, point: Floats) -> int:
    """The vertex of the head's skin nearest to a point of the template."""
    skin = np.unique(anatomy.part("head").source)
    return int(skin[((anatomy.template[skin] - point) ** 2).sum(axis=1).argmin()])


def _mirror(anatomy: Anatomy) -> npt.NDArray[np.int64]:
    """For each vertex the one on the other side."""
    from scipy.spatial import cKDTree

    points = anatomy.vertices
    return np.asarray(cKDTree(points).query(points * [-1.0, 1.0, 1.0])[1])
