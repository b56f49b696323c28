"""Raised hands and what they hold: a goal for the wrist, a hand shape, and a search for touch without sinking in.

    gesture = Gesture.draw("phone", run_seed, index, mirror_side)
    turns, props = perform(gesture, rig, turns, to_world, features, camera)

Goals are given in head coordinates around the features of the person's own face.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from sources.cabin.assembly import Transform
from sources.cabin.camera import Camera
from sources.cabin.gesture import MOMENTS, Features, Gesture
from sources.cabin.held_things import held_thing
from sources.cabin.skeleton import Skeleton, curl, reach
from sources.cabin.surfaces import Surface

Floats = npt.NDArray[np.float64]

TOUCH = 0.0003
"""Where a touching hand comes to rest, metres above the skin."""

RETREAT = {kind: (0.30, 0.0, -1.0) for kind in MOMENTS["eating"]} | {
    "forehead": (0.2, 0.0, 1.0),
    "text": (0.5, 0.0, -0.8),
}
"""Where a hand gives way to that hides too much: outwards, forwards, up."""
RETREATS, GIVE_WAY = (0, 1, 2, -1, -2, 3, 4, 5, -3, -4), 0.020
"""Steps that are tried in this order until a hand hides little and is seen, and their length in metres."""
IN_SIGHT = 0.35
"""Share of the hand, and of the thing that it holds, that the camera should see."""
SKULL, SKULL_RADIUS = np.array([0.0, 0.075, 0.02]), 0.080
"""The head's middle from the point between the eyes, and a sphere that hides what is behind it, metres."""
SLEEVE = (0.032, 0.055)
"""Radius of a clothed forearm at the wrist and at the elbow, metres."""
EYE_REACH, MOUTH_REACH = 0.017, 0.014
"""What is seen this close to an eye or the middle of the mouth covers it, metres in the plane of the face."""
TOUCHING = ("call", "eye", "cheek", "forehead", "yawn", "scratch")


def perform(
    gesture: Gesture, rig: Skeleton, turns: dict[str, Floats], to_world: Transform, features: Features, camera: Camera
) -> tuple[dict[str, Floats], list[Surface]]:
    """(turns with the arm raised, the held thing in head coordinates).

    A hand that would hide more of the face than its gesture needs gives way, outwards or downwards; one that
    the camera wouldn't see comes closer.
    """
    s = 1.0 if gesture.side == "L" else -1.0
    back = np.array(RETREAT.get(gesture.kind, (1.0, 0.0, -0.15))) * [s, 1.0, 1.0]
    lens = to_world.inverse()(camera.origin)
    best: tuple[float, dict[str, Floats], list[Surface]] = (-4.0, turns, [])
    for attempt in RETREATS:
        result, things, hand, arm = _raised(gesture, s, rig, turns, to_world, features, attempt * GIVE_WAY * back)
        covering = np.concatenate([hand, arm, *(part.vertices for part in things)])
        hides = _hides_too_much(gesture.kind, covering, features, lens)
        parts = (hand, *(thing.vertices for thing in things[:1]))
        seen = min(_in_sight(part, camera, to_world, features, lens) for part in parts)
        best = max(best, (-float(hides) if hides else min(seen, IN_SIGHT), result, things), key=lambda found: found[0])
        if best[0] >= IN_SIGHT:
            break
    return best[1:]


def _in_sight(points: Floats, camera: Camera, to_world: Transform, features: Features, lens: Floats) -> float:
    """Share of points in the camera's picture and not behind the head."""
    places = camera.project(to_world(points))
    middle = 0.5 * (features.eyes["L"] + features.eyes["R"]) + SKULL
    away, rays = middle - lens, points - lens
    along = (rays @ away) / (rays**2).sum(axis=1)
    aside = np.linalg.norm(along[:, None] * rays - away, axis=1)
    behind = (aside < SKULL_RADIUS) & (along < 1.0)
    return float((((places > 0.02) & (places < 0.98)).all(axis=1) & ~behind).mean())


def _raised(
    gesture: Gesture, s: float, rig: Skeleton, turns: dict[str, Floats], to_world: Transform, features: Features,
    shift: Floats,
) -> tuple[dict[str, Floats], list[Surface], Floats, Floats]:  # fmt: skip
    """(turns, held thing, points of the hand, of the forearm), the goal moved by `shift`."""
    wrist, fingers, palm, bend, spread = _goal(gesture, s, features)
    thing = held_thing(gesture, s, features)
    eats = gesture.kind in MOMENTS["eating"]
    away = np.array([0.25 * s, -0.35, -0.90]) if eats else -palm / np.linalg.norm(palm)
    if gesture.kind in ("call",):
        away = np.array([s, 0.0, 0.0])
    tree = cKDTree(features.skin)
    hand = np.unique(rig.anatomy.part("left_hand" if s > 0 else "right_hand").source)[::2]
    inverse = to_world.inverse()
    step = 0.0
    result: dict[str, Floats] = turns
    points = np.zeros((0, 3))
    elbow = np.array([1.3 * s if gesture.kind in MOMENTS["adjusting"] else 0.75 * s, -0.25, -1.0])
    for _ in range(7 if gesture.kind in TOUCHING or eats else 1):
        goal = wrist + shift + step * away
        rotate = to_world.rotation
        raised = reach(rig, turns, gesture.side, to_world(goal), rotate @ fingers, rotate @ palm, elbow)
        result = curl(rig, raised, gesture.side, bend, spread)
        points = inverse(rig.pose(result)[hand])
        touching = points
        if gesture.kind == "call":
            touching = np.concatenate([points, thing[0].vertices[::3] + shift + step * away])
        gap = _clearance(touching, tree, features) - (features.hair if gesture.kind == "call" else 0.0)
        wanted = TOUCH - gap if gesture.kind in TOUCHING else max(TOUCH - gap, 0.0)
        if abs(wanted) < 0.0006:
            break
        step += float(np.clip(wanted, -0.035, 0.06)) * (1.0 if wanted > 0 else 0.8)
    thing = [part.moved(np.eye(3), shift + step * away) for part in thing]  # no hand lets go of what it holds
    joints = inverse(rig.forward(result)[1])
    ends = joints[rig.anatomy.bones[f"wrist.{gesture.side}"]], joints[rig.anatomy.bones[f"lowerarm01.{gesture.side}"]]
    arm = _sleeve(*ends)
    return result, thing, points, arm


def _sleeve(wrist: Floats, elbow: Floats) -> Floats:
    """Points on the skin or the sleeve of a forearm: [96, 3]."""
    axis = elbow - wrist
    one = np.cross(axis, [0.0, 1.0, 0.0])
    one /= max(float(np.linalg.norm(one)), 1e-6)
    two = np.cross(axis, one) / np.linalg.norm(axis)
    angle = np.linspace(0.0, 2.0 * np.pi, 6, endpoint=False)
    ring = np.cos(angle)[:, None] * one + np.sin(angle)[:, None] * two
    share = np.linspace(0.0, 1.0, 16)[:, None, None]
    thick = SLEEVE[0] + (SLEEVE[1] - SLEEVE[0]) * share
    return np.asarray(wrist + share * axis + thick * ring).reshape(-1, 3)


def _hides_too_much(kind: str, points: Floats, features: Features, lens: Floats) -> int:
    """How many eyes and mouths points cover beyond what a gesture may."""
    middle = features.mouth
    ahead = (middle - lens) / np.linalg.norm(middle - lens)

    def seen(at: Floats) -> Floats:
        depth = (at - lens) @ ahead
        return np.asarray((at - lens) / np.maximum(depth, 0.02)[:, None] * float((middle - lens) @ ahead))

    tree = cKDTree(seen(points))
    eyes = sum(tree.query(seen(eye[None] - [0.0, 0.016, 0.0]))[0][0] < EYE_REACH for eye in features.eyes.values())
    mouth = tree.query(seen(middle[None]))[0][0] < MOUTH_REACH
    return max(int(eyes) - (kind in ("eye", "forehead")), 0) + int(mouth and kind not in (*MOMENTS["eating"], "yawn"))


def _clearance(points: Floats, tree: cKDTree, features: Features) -> float:
    """Smallest signed distance of points to the skin, metres; negative inside."""
    distance, row = tree.query(points, k=3)
    offset = points[:, None] - features.skin[row]
    signed = (offset * features.normals[row]).sum(axis=-1).mean(axis=1)
    inside = (signed < 0) & (distance[:, 0] < 0.045)
    return float(np.where(inside, signed, distance[:, 0]).min())


def _goal(
    gesture: Gesture, s: float, f: Features
) -> tuple[Floats, Floats, Floats, dict[int, tuple[float, float, float]], float]:
    """(wrist, finger direction, palm direction, bend of the fingers, spread) in head coordinates."""
    eye = f.eyes["L" if s > 0 else "R"]
    j = gesture.jitter * 0.006
    relaxed = {2: (18, 22, 12), 3: (22, 26, 14), 4: (26, 30, 16), 5: (30, 32, 18), 1: (10, 12, 10)}
    grip = {2: (38, 48, 26), 3: (42, 50, 28), 4: (46, 52, 30), 5: (50, 52, 30), 1: (18, 20, 20)}
    flat = {2: (6, 8, 5), 3: (6, 9, 5), 4: (8, 10, 6), 5: (10, 12, 7), 1: (4, 6, 6)}
    point = {2: (10, 18, 12), 3: (28, 40, 22), 4: (44, 55, 30), 5: (50, 58, 30), 1: (20, 18, 12)}
    fist = {2: (56, 80, 40), 3: (62, 84, 42), 4: (66, 86, 42), 5: (70, 86, 42), 1: (20, 30, 24)}
    kind = gesture.kind
    table = {
        "call": ((s * (f.ear_x + 0.050), -0.105, f.chin[2] - 0.002), (-0.12 * s, 0.12, 1.0), (-0.9 * s, 0.45, 0.0),
            {2: (20, 30, 18), 3: (24, 34, 20), 4: (26, 36, 22), 5: (28, 38, 22), 1: (14, 10, 8)}, 4.0),
        "text": ((s * 0.146, f.mouth[1] - 0.075, f.chin[2] - 0.078), (-0.66 * s, -0.10, 0.76),
            (-0.30 * s, 0.85, 0.10),
        {2: (34, 52, 30), 3: (38, 54, 32), 4: (42, 56, 34), 5: (46, 58, 34), 1: (14, 10, 8)}, 3.0),
        "burger": (f.mouth + np.array([s * 0.112, -0.046, -0.092]), (-0.78 * s, -0.02, 0.62),
            (-0.55 * s, 0.10, 0.75),
        {2: (30, 34, 22), 3: (32, 36, 22), 4: (36, 40, 24), 5: (42, 42, 24), 1: (4, 10, 14)}, 4.0),
        "bar": (f.mouth + np.array([s * 0.125, -0.085, -0.130]), (-0.40 * s, 0.22, 0.90), (-0.70 * s, 0.55, -0.1),
            {2: (28, 40, 24), 3: (40, 46, 26), 4: (52, 52, 30), 5: (56, 54, 30), 1: (14, 16, 16)}, 2.0),
        "cup": (f.mouth + np.array([s * 0.078, -0.092, -0.072]), (-0.30 * s, -0.42, 0.75),
            (-0.92 * s, -0.05, -0.25), grip, 3.0),
        "bottle": (f.mouth + np.array([s * 0.075, -0.135, -0.040]), (-0.30 * s, -0.42, 0.75),
            (-0.92 * s, -0.05, -0.25), grip, 3.0),
        "mirror": ((s * 0.118, eye[1] - 0.060, eye[2] - 0.012), (0.05 * s, -0.45, 0.95), (0.0, -1.0, -0.2),
            relaxed, 5.0),
        "visor": ((s * 0.112, eye[1] - 0.015, eye[2] + 0.000), (-0.25 * s, -0.25, 1.0), (-0.2 * s, -0.9, 0.2),
            relaxed, 5.0),
        "screen": ((s * 0.108, eye[1] - 0.070, f.chin[2] - 0.01), (0.15 * s, -0.75, 0.60), (0.05 * s, -0.6, -0.75),
            point, 4.0),
        "eye": (eye + np.array([s * 0.048, -0.082, -0.118]), (-0.20 * s, 0.32, 0.92), (-0.15 * s, 0.92, -0.30),
            {2: (22, 26, 14), 3: (34, 40, 22), 4: (46, 50, 26), 5: (52, 52, 28), 1: (16, 14, 12)}, 2.0),
        "cheek": ((s * 0.082, f.mouth[1] - 0.012, f.chin[2] - 0.052), (0.14 * s, 0.28, 0.95),
            (-0.74 * s, 0.66, 0.10), fist if gesture.style < 0.5 else
            {2: (10, 20, 16), 3: (16, 26, 18), 4: (24, 32, 20), 5: (34, 38, 24), 1: (4, 8, 8)}, 7.0),
        "forehead": ((s * 0.100, eye[1] - 0.050, eye[2] - 0.010), (-0.85 * s, 0.10, 0.55), (0.05 * s, 1.0, -0.05),
            flat, 5.0),
        "yawn": (f.mouth + np.array([s * 0.092, -0.050, -0.055]), (-0.85 * s, 0.05, 0.50), (-0.10 * s, 1.0, 0.0),
            flat, 4.0),
        "scratch": ((s * 0.120, -0.075, eye[2] - 0.010), (-0.25 * s, 0.35, 0.90), (-0.85 * s, 0.35, -0.25),
            {2: (18, 36, 24), 3: (20, 38, 24), 4: (24, 40, 24), 5: (28, 40, 24), 1: (8, 12, 10)}, 7.0),
    }  # fmt: skip
    wrist, fingers, palm, bend, spread = table[kind]
    bent = {
        finger: tuple(float(a) * (1.0 + 0.08 * float(gesture.jitter[3])) for a in angles)
        for finger, angles in bend.items()
    }
    return (
        np.asarray(wrist) + j[:3],
        np.asarray(fingers, dtype=float) + 2.0 * j[3:],
        np.asarray(palm, dtype=float),
        bent,
        spread,
    )  # type: ignore[return-value]
