"""Posing: world rotations of bones, inherited from the parent, and two-bone inverse kinematics for a raised arm.

    rig = Skeleton(anatomy, vertices)
    turns = {"head": rotation}                    # world rotations [3, 3] of some bones
    posed = rig.pose(turns)                       # float64 [V, 3]

A world rotation of the head is exact by construction; bones have neither axes nor rolls.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sources.cabin.anatomy import Anatomy

Floats = npt.NDArray[np.float64]

NECK = (("spine01", 0.10), ("neck01", 0.30), ("neck02", 0.52), ("neck03", 0.76), ("head", 1.0))
"""How much of the head's rotation each bone carries."""


class Skeleton:
    """The rig of one person at rest."""

    def __init__(self, anatomy: Anatomy, vertices: Floats) -> None:
        self.anatomy, self.vertices = anatomy, vertices
        self.rest = vertices[anatomy.joints].mean(axis=2)
        """[B, 2, 3]: heads and tails of the bones at rest"""

    def head_of(self, bone: str) -> Floats:
        """Where a bone starts, at rest."""
        return np.asarray(self.rest[self.anatomy.bones[bone], 0])

    def forward(self, turns: dict[str, Floats]) -> tuple[Floats, Floats]:
        """World rotations [B, 3, 3] and posed heads [B, 3] of all bones."""
        anatomy = self.anatomy
        names, parents, rest = list(anatomy.bones), anatomy.parents, self.rest[:, 0]
        rotations, heads = np.empty((len(names), 3, 3)), np.empty((len(names), 3))
        for row, name in enumerate(names):
            parent = parents[row]
            if parent < 0:
                rotations[row], heads[row] = turns.get(name, np.eye(3)), rest[row]
                continue
            rotations[row] = turns.get(name, rotations[parent])
            heads[row] = heads[parent] + rotations[parent] @ (rest[row] - rest[parent])
        return rotations, heads

    def pose(self, turns: dict[str, Floats], vertices: Floats | None = None) -> Floats:
        """Linear blend skinning of `vertices` (default: the person at rest): v' = sum w (D (v - rest) + p)."""
        vertices = self.vertices if vertices is None else vertices
        rotations, heads = self.forward(turns)
        offsets = heads - np.einsum("bij,bj->bi", rotations, self.rest[:, 0])
        weights = self.anatomy.weights
        blended = (weights @ rotations.reshape(len(heads), 9)).reshape(-1, 3, 3)
        return np.asarray(np.einsum("vij,vj->vi", blended, vertices) + weights @ offsets)


def about(axis: Floats | tuple[float, float, float], angle: float) -> Floats:
    """Rotation by `angle` radians about an axis (Rodrigues)."""
    x, y, z = np.asarray(axis, dtype=np.float64) / max(float(np.linalg.norm(axis)), 1e-12)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross))


def fraction(rotation: Floats, share: float) -> Floats:
    """The same turn, only `share` of the way."""
    angle = float(np.arccos(np.clip((np.trace(rotation) - 1.0) / 2.0, -1.0, 1.0)))
    if angle < 1e-8:
        return np.eye(3)
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    return about(axis, share * angle)


def between_directions(start: Floats, end: Floats) -> Floats:
    """The smallest rotation that takes one direction to another."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis = np.cross(start, end)
    sine, cosine = float(np.linalg.norm(axis)), float(start @ end)
    if sine < 1e-9:
        return np.eye(3) if cosine > 0 else about(np.cross(start, [0.3, 0.5, 0.8]), np.pi)
    return about(axis, float(np.arctan2(sine, cosine)))


def head_rotation(camera_axes: Floats, yaw: float, pitch: float, roll: float) -> Floats:
    """World rotation of a head seen by a camera whose axes (right, forward, up) are the columns of `camera_axes`.

    Degrees; yaw > 0 turns the face to the right edge of the picture, pitch > 0 upwards. At zero the face looks
    straight into the camera.
    """
    turn = about((0, 0, 1), np.radians(yaw)) @ about((1, 0, 0), -np.radians(pitch)) @ about((0, 1, 0), np.radians(roll))
    return np.asarray(camera_axes @ turn)


def gaze_rotation(yaw: float, pitch: float) -> Floats:
    """Rotation of an eye relative to the head, with the same signs."""
    return about((0, 0, 1), np.radians(yaw)) @ about((1, 0, 0), -np.radians(pitch))


def head_turns(rotation: Floats, lean: float, slouch: float) -> dict[str, Floats]:
    """Rotations of spine and neck that carry the head's `rotation`; lean and slouch of the body in degrees."""
    body = about((0, 1, 0), np.radians(lean)) @ about((1, 0, 0), np.radians(slouch))
    turns = {"spine02": body}
    for bone, share in NECK:
        turns[bone] = body @ fraction(body.T @ rotation, share)
    turns["head"] = rotation
    return turns


def reach(
    rig: Skeleton, turns: dict[str, Floats], side: str, goal: Floats, fingers: Floats, palm: Floats, elbow: Floats
) -> dict[str, Floats]:
    """Turns that bring the wrist of arm `side` ("L" or "R") to `goal` with the hand's directions given.

    `fingers` and `palm` (its outward normal) are world directions, `elbow` is where the elbow points roughly.
    """
    rotations, heads = rig.forward(turns)
    bones = rig.anatomy.bones
    shoulder, upper, lower, wrist = (
        bones[f"{name}.{side}"] for name in ("shoulder01", "upperarm01", "lowerarm01", "wrist")
    )
    rest = rig.rest[:, 0]
    carried = rotations[shoulder]
    start = heads[upper]
    a, b = float(np.linalg.norm(rest[lower] - rest[upper])), float(np.linalg.norm(rest[wrist] - rest[lower]))
    towards = goal - start
    distance = float(np.clip(np.linalg.norm(towards), abs(a - b) + 1e-3, (a + b) * 0.999))
    axis = towards / np.linalg.norm(towards)
    aside = elbow - axis * float(elbow @ axis)
    aside /= np.linalg.norm(aside)
    along = (a * a - b * b + distance * distance) / (2.0 * distance)
    bend = np.sqrt(max(a * a - along * along, 0.0))
    joint = start + axis * along + aside * bend
    end = start + axis * distance
    first = between_directions(carried @ (rest[lower] - rest[upper]), joint - start) @ carried
    second = between_directions(first @ (rest[wrist] - rest[lower]), end - joint) @ first
    hand = hand_frame(fingers, palm) @ hand_frame(*hand_rest(rig, side)).T
    forearm = (end - joint) / np.linalg.norm(end - joint)
    twist = _about_axis_only(hand @ second.T, forearm, 0.6)
    return {
        **turns,
        f"upperarm01.{side}": first,
        f"lowerarm01.{side}": second,
        f"lowerarm02.{side}": twist @ second,
        f"wrist.{side}": hand,
    }


def _about_axis_only(rotation: Floats, axis: Floats, share: float) -> Floats:
    """`share` of the part of a rotation that twists about `axis`."""
    angle = 0.5 * np.arctan2(
        float(
            axis
            @ np.array(
                [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
            )
        ),
        1.0 + float(np.trace(rotation)),
    )
    return about(axis, 2.0 * share * angle)


def hand_frame(fingers: Floats, palm: Floats) -> Floats:
    """Columns: finger direction, palm normal made perpendicular to it, and their cross product."""
    x = fingers / np.linalg.norm(fingers)
    y = palm - x * float(x @ palm)
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def hand_rest(rig: Skeleton, side: str) -> tuple[Floats, Floats]:
    """Finger direction and palm normal of a hand at rest."""
    wrist, middle = rig.head_of(f"wrist.{side}"), rig.head_of(f"finger3-1.{side}")
    index, little = rig.head_of(f"finger2-1.{side}"), rig.head_of(f"finger5-1.{side}")
    fingers = middle - wrist
    normal = np.cross(fingers, little - index)
    return fingers, normal if side == "L" else -normal


def curl(
    rig: Skeleton, turns: dict[str, Floats], side: str, bend: dict[int, tuple[float, float, float]], spread: float
) -> dict[str, Floats]:
    """Bend the fingers of a hand: `bend` gives degrees for the three joints of fingers 1 (thumb) to 5."""
    hand = turns[f"wrist.{side}"]
    fingers, palm = (hand @ direction for direction in hand_rest(rig, side))
    frame = hand_frame(fingers, palm)
    found = dict(turns)
    for finger, degrees in bend.items():
        axis = np.cross(frame[:, 0], frame[:, 1])
        if finger == 1:
            base, tip = rig.head_of(f"finger1-1.{side}"), rig.head_of(f"finger1-3.{side}")
            axis = np.cross(hand @ (tip - base), frame[:, 1] + 0.3 * frame[:, 0])
        fan = (
            about(frame[:, 1], np.radians(spread * (finger - 3.0) * (-1.0 if side == "L" else 1.0)))
            if finger > 1
            else np.eye(3)
        )
        total = 0.0
        for joint, angle in enumerate(degrees, start=1):
            total += angle
            found[f"finger{finger}-{joint}.{side}"] = about(axis, np.radians(total)) @ fan @ hand
    return found
