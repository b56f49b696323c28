"""The geometry of the cabin: a driver, what is worn and held, and the seat, as signed distances.

Frame of reference: x to the right edge of the picture, y up, z towards the camera; the head's centre is
the origin and its half width is about 0.7. Everything that differs between frames is in `s`, a dict of
[B, 1] tensors made by `sources.cartoon.driver`; positions are [B, P] tensors, one column a ray.
"""

from __future__ import annotations

import torch

from sources.cartoon.sdf import (
    T,
    capsule,
    ellipsoid,
    length,
    round_box,
    round_rectangle,
    smooth_max,
    smooth_min,
)

Scene = dict[str, T]

PARTS = ("skin", "hair", "cloth", "seat", "frame", "lens", "mask", "hat", "phone", "food")
"""Materials, in the order of `part_distances`."""

EYE_X, EYE_Y, EYE_Z = 0.30, 0.08, 0.50
EYE_HALF_WIDTH = 0.18
MOUTH_Y = -0.50
FAR_AWAY = 10.0


def to_head(s: Scene, x: T, y: T, z: T) -> tuple[T, T, T]:
    """World to head coordinates: the rotation about the neck joint, undone."""
    px, py, pz = x - s["head_x"], y - s["head_y"], z - s["head_z"]
    hx = s["r00"] * px + s["r10"] * py + s["r20"] * pz
    hy = s["r01"] * px + s["r11"] * py + s["r21"] * pz
    hz = s["r02"] * px + s["r12"] * py + s["r22"] * pz
    return hx, hy - 0.6, hz - 0.3


def part_distances(s: Scene, x: T, y: T, z: T) -> tuple[T, ...]:
    """Distance of a point to each of PARTS; absent things are FAR_AWAY."""
    hx, hy, hz = to_head(s, x, y, z)
    ax = hx.abs()
    head = _head(s, hx, ax, hy, hz)
    hand, sleeve = _arm(s, x, y, z)
    neck = capsule(x, y, z, (0.0, -0.6, -0.28), (0.0, -1.5, -0.4), s["neck"], s["neck"] + 0.06)
    skin = torch.minimum(smooth_min(head, neck, 0.12), hand)
    torso = ellipsoid(x, y + 2.02, z + 0.45, s["shoulders"], 0.80, 0.62)
    cloth = torch.minimum(
        smooth_min(torso, capsule(x, y, z, (-0.3, -1.32, -0.3), (0.3, -1.32, -0.3), 0.2, 0.2), 0.2), sleeve
    )
    return (
        skin,
        _hair(s, head, ax, hy, hz),
        cloth,
        _seat(s, x, y, z),
        _glasses_frame(s, ax, hy, hz),
        _dark_lens(s, ax, hy, hz),
        _mask(s, head, ax, hy, hz),
        _hat(s, hx, hy, hz),
        _phone(s, x, y, z),
        _food(s, x, y, z),
    )


def distance(s: Scene, x: T, y: T, z: T) -> T:
    """Distance of a point [B, P] to the nearest surface."""
    parts = part_distances(s, x, y, z)
    nearest = parts[0]
    for part in parts[1:]:
        nearest = torch.minimum(nearest, part)
    return nearest


def _head(s: Scene, x: T, ax: T, y: T, z: T) -> T:
    wide = s["face_width"]
    skull = ellipsoid(x, y - 0.20, z + 0.12, 0.70 * wide, 0.76, 0.80)
    jaw = ellipsoid(x, y + 0.36 + 0.10 * s["mouth"], z - 0.03, s["jaw"] * wide, 0.56 + 0.05 * s["mouth"], 0.60)
    head = smooth_min(skull, jaw, 0.22)
    socket = ellipsoid(ax - EYE_X, y - EYE_Y - 0.04, z - 0.83, 0.22, 0.13, 0.15)
    head = smooth_max(head, -socket, 0.16)
    eyeball = length(ax - EYE_X, y - EYE_Y, z - EYE_Z) - 0.205
    head = smooth_min(head, eyeball, 0.05)
    nose = capsule(x, y, z, (0.0, 0.10, 0.66), (0.0, -0.18, 0.79), 0.045, s["nose"])
    head = smooth_min(head, nose, 0.11)
    brow = capsule(ax, y, z, (0.14, 0.29, 0.64), (0.42, 0.27, 0.52), 0.05, 0.04)
    head = smooth_min(head, brow, 0.12)
    ear = ellipsoid(ax - 0.69 * wide, y - 0.0, z + 0.10, 0.07, 0.19, 0.13)
    return smooth_min(head, ear, 0.05)


def _hair(s: Scene, head: T, ax: T, y: T, z: T) -> T:
    """A cap around the skull with the face cut out of it, and locks down to `hair_length`."""
    shell = ellipsoid(ax, y - 0.30, z + 0.20, 0.72 * s["face_width"] + s["hair_volume"], 0.80 + s["hair_volume"], 0.80)
    face = ellipsoid(ax, y - s["hairline"] + 0.80, z - 0.72, 0.68, 0.80, 0.74)
    cap = smooth_max(shell, -face, 0.08)
    cap = smooth_max(cap, -(y + 0.12 - 0.25 * z), 0.06)
    lock = capsule(ax, y, z, (0.64, 0.30, -0.20), (0.70, s["hair_end"], -0.16), 0.14, 0.17)
    long_hair = smooth_min(cap, lock + FAR_AWAY * s["no_locks"], 0.12)
    return long_hair + FAR_AWAY * s["bald"]


def _seat(s: Scene, x: T, y: T, z: T) -> T:
    headrest = round_box(x, y - 0.32, z + 1.35, 0.62, 0.48, 0.20, 0.18)
    back = round_box(x, y + 1.75, z + 1.40, 1.10, 1.25, 0.25, 0.22)
    return torch.minimum(headrest, back)


def _glasses_frame(s: Scene, ax: T, y: T, z: T) -> T:
    lens = round_rectangle(ax - EYE_X, y - EYE_Y + 0.01, s["lens_x"], s["lens_y"], s["lens_round"])
    depth = z - 0.80 + 0.30 * ax * ax
    rim = torch.sqrt(lens * lens + depth * depth + 1e-9) - s["rim"]
    bridge = capsule(ax, y, z, (0.0, 0.12, 0.83), (0.09, 0.11, 0.80), 0.022, 0.022)
    temple = capsule(ax, y, z, (0.56, 0.12, 0.72), (0.72, 0.10, -0.05), 0.022, 0.022)
    return torch.minimum(rim, torch.minimum(bridge, temple)) * 0.9 + FAR_AWAY * s["no_frame"]


def _dark_lens(s: Scene, ax: T, y: T, z: T) -> T:
    lens = round_rectangle(ax - EYE_X, y - EYE_Y + 0.01, s["lens_x"], s["lens_y"], s["lens_round"])
    depth = (z - 0.80 + 0.30 * ax * ax).abs() - 0.012
    return torch.maximum(lens, depth) * 0.9 + FAR_AWAY * s["no_dark_lens"]


def _mask(s: Scene, head: T, ax: T, y: T, z: T) -> T:
    """The lower face, thickened, below the cheekbones and in front of the ears, with ear loops."""
    bulge = ellipsoid(ax, y + 0.42, z - 0.42, 0.46, 0.42 + 0.05 * s["mouth"], 0.47)
    shell = smooth_min(head - 0.035, bulge, 0.12)
    top = y + 0.06 + 0.42 * ax * ax - 0.10 * (0.25 - ax).clamp(min=0.0)
    cloth = smooth_max(smooth_max(shell, top, 0.03), 0.14 - z + 0.2 * (y + 0.4).abs(), 0.03)
    loop = capsule(ax, y, z, (0.60, -0.18, 0.28), (0.73, 0.08, -0.08), 0.022, 0.022)
    return torch.minimum(cloth, loop) * 0.9 + FAR_AWAY * s["no_mask"]


def _hat(s: Scene, x: T, y: T, z: T) -> T:
    """A cap with a peak, or a knitted hat (no peak, taller)."""
    dome = ellipsoid(x, y - 0.42, z + 0.14, 0.80, s["hat_height"], 0.88)
    dome = smooth_max(dome, s["hat_edge"] - y - 0.12 * z, 0.05)
    bent = y - s["hat_edge"] - 0.05 + 0.36 * (z - 0.66) + 0.30 * x * x
    peak = round_box(x, bent, z - 0.62 + 0.35 * x * x, 0.47, 0.035, 0.40, 0.034)
    return torch.minimum(dome, peak * 0.6 + FAR_AWAY * s["no_peak"]) + FAR_AWAY * s["no_hat"]


def _arm(s: Scene, x: T, y: T, z: T) -> tuple[T, T]:
    """The raised arm: (hand and wrist, sleeve). `f` is where the fingers point, `k` the knuckle line."""
    h = (s["hand_x"], s["hand_y"], s["hand_z"])
    f = (s["finger_x"], s["finger_y"], s["finger_z"])
    k = (s["knuckle_x"], s["knuckle_y"], s["knuckle_z"])
    w = (s["wrist_x"], s["wrist_y"], s["wrist_z"])
    e = (s["elbow_x"], s["elbow_y"], s["elbow_z"])
    palm = capsule(x, y, z, _along(h, k, -0.10), _along(h, k, 0.10), 0.135, 0.135)
    hand = palm
    for side in (-0.17, -0.055, 0.06, 0.165):
        base = _along(_along(h, k, side), f, 0.08)
        hand = smooth_min(
            hand, capsule(x, y, z, base, _along(base, f, 0.30 - 0.5 * abs(side) * abs(side)), 0.062, 0.05), 0.03
        )
    wrist = capsule(x, y, z, h, w, 0.125, 0.12)
    sleeve = capsule(x, y, z, w, e, 0.15, 0.25)
    absent = FAR_AWAY * s["no_arm"]
    return smooth_min(hand, wrist, 0.06) + absent, sleeve + absent


def _phone(s: Scene, x: T, y: T, z: T) -> T:
    """A slab in the hand at the ear; its axes are the head's."""
    hx, hy, hz = to_head(s, x, y, z)
    side = s["arm_side"]
    px, py, pz = hx * side - 0.80, hy + 0.10, hz - 0.24
    tilted_y, tilted_z = py * 0.92 + pz * 0.39, pz * 0.92 - py * 0.39
    return round_box(px, tilted_y, tilted_z, 0.06, 0.42, 0.22, 0.04) + FAR_AWAY * s["no_phone"]


def _food(s: Scene, x: T, y: T, z: T) -> T:
    """A round sandwich in front of the mouth."""
    hx, hy, hz = to_head(s, x, y, z)
    return ellipsoid(hx, hy - MOUTH_Y - 0.02, hz - 0.86, 0.27, 0.19, 0.19) + FAR_AWAY * s["no_food"]


def _along(a: tuple[T, ...], direction: tuple[T, ...], amount: float) -> tuple[T, T, T]:
    return (a[0] + amount * direction[0], a[1] + amount * direction[1], a[2] + amount * direction[2])
