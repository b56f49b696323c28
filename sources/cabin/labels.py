"""What is known about a frame: landmarks, what is hidden, and on request depth and classes of all pixels.

points = landmarks(moment)                           # float32 [len(LANDMARKS), 2]
hidden = hidden_fields(scene, moment, condition)     # names of fields
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.field import Condition
from contract.schemas import CABIN
from sources.cabin.assembly import renderer
from sources.cabin.eyes import cornea
from sources.cabin.face import CHIN, LOWER_LIP, NOSE_BRIDGE, NOSE_TIP, UPPER_LIP
from sources.cabin.landmarks import LANDMARKS
from sources.cabin.moment import Moment
from sources.cabin.surfaces import LABELS, Surface

Floats = npt.NDArray[np.float64]

SIDES = {"left": "R", "right": "L"}
"""The subject's eye that lies at the left and right of the picture."""
NEAR = 0.012
"""A hit this close before a point is the point itself, metres."""

SMALL = 0.01
"""A hand and a thing that are less of the picture than this show no gesture."""
GRID = 40
"""Rays along each side of the picture that look for a hand."""

EYE_FIELDS = ("eye_openness", "gaze_yaw", "gaze_pitch", "fatigue_level")


@dataclass(frozen=True)
class Layers:
    """Depth and classes of a frame's pixels."""

    depth: npt.NDArray[np.float32]
    """[H, W], metres along the optical axis; 0 where nothing was hit"""
    classes: npt.NDArray[np.uint8]
    """[H, W], rows of `sources.cabin.surfaces.LABELS`"""


def landmarks(moment: Moment) -> npt.NDArray[np.float32]:
    """Where LANDMARKS lie, as shares of width and height."""
    points = landmark_points(moment)
    return moment.camera.project(moment.to_world(points)).astype(np.float32)


def landmark_points(moment: Moment) -> Floats:
    """LANDMARKS in head coordinates: [L, 3]."""
    face, moved = moment.sitter.face, moment.moved
    found: dict[str, Floats] = {
        "nose_tip": moved[NOSE_TIP], "nose_bridge": moved[NOSE_BRIDGE], "chin": moved[CHIN],
        "mouth_top": moved[UPPER_LIP],
        "mouth_bottom": moved[LOWER_LIP],
    }  # fmt: skip
    for word, side in SIDES.items():
        inner, outer = face.corners[side]
        found |= {f"eye_{word}_inner": moved[inner], f"eye_{word}_outer": moved[outer]}
        found |= {
            f"eye_{word}_upper": moved[face.upper[side]][1:3].mean(axis=0),
            f"eye_{word}_lower": moved[face.lower[side]][1:3].mean(axis=0),
        }
        found[f"pupil_{word}"] = cornea(face, side, moment.expression.gaze_yaw, moment.expression.gaze_pitch)
        found[f"mouth_{word}"] = moved[face.mouth_corners[side]]
        found[f"brow_{word}_inner"], found[f"brow_{word}_outer"] = (
            moved[face.brow_ends[side][0]],
            moved[face.brow_ends[side][1]],
        )
    return np.stack([found[name] for name in LANDMARKS])


def hidden_fields(scene: Any, moment: Moment, condition: Condition) -> tuple[str, ...]:
    """Fields that the frame doesn't show: by the schema's rules, and what a hand or a thing covers."""
    names = set(CABIN.hidden(condition))
    points = dict(zip(LANDMARKS, landmark_points(moment), strict=True))
    eyes = [[f"eye_{word}_upper", f"eye_{word}_lower", f"eye_{word}_inner", f"eye_{word}_outer"] for word in SIDES]
    if not any(sum(is_visible(scene, moment, points[name]) for name in group) >= 3 for group in eyes):
        names |= set(EYE_FIELDS)
    lips = ("mouth_top", "mouth_bottom", "mouth_left", "mouth_right")
    if sum(is_visible(scene, moment, points[name]) for name in lips) < 2:
        names.add("mouth_openness")
    if condition["distraction_type"] != "none" and _gesture_area(scene, moment) < SMALL:
        names.add("distraction_type")
    return tuple(name for name in CABIN.names if name in names)


def is_visible(scene: Any, moment: Moment, point: Floats) -> bool:
    """Whether the camera sees a point in head coordinates, through lenses, lashes, brows and beards."""
    mi = renderer()
    origin = moment.to_head(moment.camera.origin)
    towards = point - origin
    distance = float(np.linalg.norm(towards))
    direction, travelled = towards / distance, 0.0
    for _ in range(6):
        start = origin + direction * travelled
        ray = mi.Ray3f([float(v) for v in start], [float(v) for v in direction])
        hit = scene.ray_intersect(ray)
        if not hit.is_valid() or travelled + float(hit.t) > distance - NEAR:
            return True
        if hit.shape.id() not in ("lens", "lashes", "brows", "beard"):
            return False
        travelled += float(hit.t) + 1e-4
    return True


def _gesture_area(scene: Any, moment: Moment) -> float:
    """Share of the picture that shows a hand or what it holds."""
    mi = renderer()
    raised = [item for item in moment.items if item.label in ("hand", "object") and isinstance(item, Surface)]
    names = {item.name for item in raised}
    vertices = np.concatenate([np.zeros((0, 3)), *(item.vertices for item in raised)])
    places = moment.camera.project(moment.to_world(vertices))
    seen = 0
    if len(places):
        first = np.clip(np.floor(places.min(axis=0) * GRID), 0, GRID).astype(int)
        last = np.clip(np.ceil(places.max(axis=0) * GRID), 0, GRID).astype(int)
        origin = [float(v) for v in moment.to_head(moment.camera.origin)]
        for row in range(first[1], last[1]):
            for column in range(first[0], last[0]):
                direction, _ = _ray(moment, (column + 0.5) / GRID, (row + 0.5) / GRID)
                hit = scene.ray_intersect(mi.Ray3f(origin, direction))
                seen += hit.is_valid() and hit.shape.id() in names
    return seen / GRID**2


def _ray(moment: Moment, x: float, y: float) -> tuple[list[float], float]:
    """(direction in head coordinates through a place in the picture, its length over its depth)."""
    camera = moment.camera
    right, up = camera.undistorted(2 * x - 1, 1 - 2 * y)
    seen = camera.axes @ np.array([right * camera.tangent, 1.0, up * camera.tangent])
    away = float(np.linalg.norm(seen))
    return [float(v) for v in moment.to_head.rotation @ (seen / away)], away


def layers(scene: Any, moment: Moment, size: int) -> Layers:
    """Depth and classes by one ray through the middle of each pixel; lenses count as glasses."""
    mi = renderer()
    numbers = {name: LABELS.index(label) for name, label in moment.labels().items()}
    numbers |= {
        name: LABELS.index("headwear" if name.startswith("hat") else "hair")
        for name in moment.sitter.worn(moment.hat, moment.sensor)
    }
    origin = moment.to_head(moment.camera.origin)
    depth, classes = np.zeros((size, size), np.float32), np.zeros((size, size), np.uint8)
    start = [float(v) for v in origin]
    for row in range(size):
        for column in range(size):
            direction, away = _ray(moment, (column + 0.5) / size, (row + 0.5) / size)
            hit = scene.ray_intersect(mi.Ray3f(start, direction))
            if hit.is_valid():
                depth[row, column] = float(hit.t) / away
                classes[row, column] = numbers.get(hit.shape.id(), 0)
    return Layers(depth, classes)
