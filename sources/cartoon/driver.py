"""From a condition and a driver's identity to the numbers that the scene is drawn from.

Everything random about frame `index` comes from Philox(key=[seed, index]), everything about a person from
Philox(key=[identity_seed, subject]): a frame depends on nothing else, whatever the batch.

    scene = describe(conditions, subjects=[3], seed=1, indices=[0], domain=CABIN_DOMAIN)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sources.cartoon.domains import CABIN_DOMAIN, Domain

Array = npt.NDArray[np.float64]

PIVOT = np.array([0.0, -0.6, -0.3])
"""The neck joint in head coordinates, about which a head turns and nods."""

LINEAR_SKIN = np.array([[0.86, 0.60, 0.47], [0.70, 0.43, 0.30], [0.42, 0.22, 0.13], [0.17, 0.085, 0.05]])
HAIR = np.array(
    [[0.02, 0.016, 0.014], [0.07, 0.035, 0.018], [0.20, 0.09, 0.03], [0.52, 0.34, 0.13], [0.30, 0.07, 0.02]]
)
IRIS = np.array([[0.05, 0.025, 0.012], [0.10, 0.05, 0.02], [0.10, 0.16, 0.24], [0.08, 0.15, 0.07]])
CLOTH = np.array(
    [
        [0.03, 0.05, 0.16],
        [0.25, 0.03, 0.03],
        [0.45, 0.45, 0.42],
        [0.02, 0.02, 0.025],
        [0.04, 0.15, 0.10],
        [0.35, 0.25, 0.10],
    ]
)
HAT = np.array([[0.55, 0.04, 0.04], [0.03, 0.07, 0.35], [0.03, 0.03, 0.03], [0.05, 0.28, 0.12], [0.65, 0.60, 0.50]])
MASKS = np.array([[0.45, 0.68, 0.80], [0.80, 0.80, 0.78], [0.05, 0.05, 0.06]])
SEAT = np.array([[0.035, 0.033, 0.035], [0.14, 0.09, 0.06], [0.12, 0.12, 0.13]])


class Uniforms:
    """Named uniform numbers in a fixed order, so that a new use never changes the ones before it."""

    def __init__(self, seed: int, keys: Sequence[int], count: int) -> None:
        streams = [np.random.Generator(np.random.Philox(key=[seed, int(key)])) for key in keys]
        self._numbers = np.stack([stream.random(count) for stream in streams])
        self._next = 0

    def between(self, low: float, high: float) -> Array:
        column = self._numbers[:, self._next]
        self._next += 1
        return low + (high - low) * column

    def choice(self, table: Array) -> Array:
        rows: Array = table[np.minimum((self.between(0, 1) * len(table)).astype(int), len(table) - 1)]
        return rows


def describe(
    conditions: Sequence[Mapping[str, Any]],
    subjects: Sequence[int],
    seed: int,
    indices: Sequence[int],
    domain: Domain = CABIN_DOMAIN,
) -> dict[str, Array]:
    """The scene of each frame as float64 columns [B], keyed as `sources.cartoon.scene` reads them.

    conditions: complete conditions of the schema `cabin`; subjects: whose face it is, one a frame.
    """
    person = Uniforms(domain.identity_seed, subjects, 40)
    moment = Uniforms(seed, indices, 40)
    c = {name: np.array([condition[name] for condition in conditions]) for name in conditions[0]}
    s: dict[str, Array] = {}
    s |= _pose(c, moment)
    s |= _face(c, person)
    s |= _worn(c, person)
    s |= _arm(c, s, moment)
    s |= _light(c, moment)
    s |= _camera(domain, moment)
    return s


def _columns(name: str, table: Array) -> dict[str, Array]:
    """Three columns name_r, name_g, name_b out of [B, 3]."""
    return {f"{name}_{channel}": table[:, i] for i, channel in enumerate("rgb")}


def _rank(values: npt.NDArray[Any], names: Sequence[str]) -> Array:
    """0 for the first name, 1 for the last."""
    return np.array([names.index(value) for value in values]) / (len(names) - 1)


def _pose(c: Mapping[str, Any], moment: Uniforms) -> dict[str, Array]:
    """The head's rotation Rz Ry Rx about the neck joint; fatigue tilts it and lets it sag."""
    fatigue = _rank(c["fatigue_level"], ("normal", "mild", "moderate", "severe"))
    side = np.where(moment.between(0, 1) < 0.5, -1.0, 1.0)
    roll = np.radians(side * 14.0 * fatigue + moment.between(-2.0, 2.0))
    yaw, pitch = np.radians(c["head_yaw"].astype(float)), np.radians(-c["head_pitch"].astype(float))
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)
    rx = _matrices([[one, zero, zero], [zero, np.cos(pitch), -np.sin(pitch)], [zero, np.sin(pitch), np.cos(pitch)]])
    ry = _matrices([[np.cos(yaw), zero, np.sin(yaw)], [zero, one, zero], [-np.sin(yaw), zero, np.cos(yaw)]])
    rz = _matrices([[np.cos(roll), -np.sin(roll), zero], [np.sin(roll), np.cos(roll), zero], [zero, zero, one]])
    rotation = rz @ ry @ rx
    return {
        **{f"r{i}{j}": rotation[:, i, j] for i in range(3) for j in range(3)},
        "head_x": moment.between(-0.05, 0.05) + 0.03 * side * fatigue,
        "head_y": PIVOT[1] + moment.between(-0.03, 0.03) - 0.10 * fatigue,
        "head_z": PIVOT[2] + moment.between(-0.06, 0.06),
        "fatigue": fatigue,
        "gaze_x": np.sin(np.radians(c["gaze_yaw"].astype(float))),
        "gaze_y": np.sin(np.radians(c["gaze_pitch"].astype(float))),
        "lids": c["eye_openness"].astype(float),
        "mouth": c["mouth_openness"].astype(float),
        "brow_noise": moment.between(-0.012, 0.012),
    }


def _matrices(rows: list[list[Array]]) -> Array:
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _face(c: Mapping[str, Any], person: Uniforms) -> dict[str, Array]:
    """What a person was born with and what age adds."""
    male = (c["gender"] == "male").astype(float)
    age = _rank(c["age_group"], ("young", "middle", "senior"))
    tone = c["skin_tone"].astype(float) * (len(LINEAR_SKIN) - 1)
    low = np.minimum(tone.astype(int), len(LINEAR_SKIN) - 2)
    share = (tone - low)[:, None]
    skin = LINEAR_SKIN[low] * (1 - share) + LINEAR_SKIN[low + 1] * share
    grey = (np.interp(age, [0.0, 0.5, 1.0], [0.0, 0.5, 0.95]) + person.between(-0.05, 0.05)).clip(0.0, 1.0)[:, None]
    hair = person.choice(HAIR) * (1 - grey) + np.array([0.48, 0.47, 0.46]) * grey
    bald = ((male > 0) & (person.between(0, 1) < 0.12 + 0.25 * age)).astype(float)
    long_hair = np.where(male > 0, person.between(0, 1) < 0.04, person.between(0, 1) < 0.85)
    beard = male * person.choice(np.array([0.0, 0.0, 0.35, 0.9]))
    return {
        **_columns("skin", skin * person.between(0.94, 1.06)[:, None]),
        **_columns("hair", hair),
        **_columns("iris", person.choice(IRIS)),
        "male": male,
        "age": age,
        "face_width": person.between(0.95, 1.05) + 0.02 * male - 0.01,
        "jaw": person.between(0.48, 0.54) + 0.07 * male,
        "nose": person.between(0.082, 0.108) + 0.015 * male,
        "neck": person.between(0.34, 0.38) + 0.06 * male,
        "shoulders": person.between(1.35, 1.5) + 0.2 * male,
        "brow_thick": person.between(0.028, 0.036) + 0.016 * male,
        "brow_height": person.between(-0.01, 0.02),
        "lip_full": person.between(0.85, 1.1) - 0.15 * male,
        "beard": beard,
        "bald": bald,
        "hair_volume": person.between(0.05, 0.11) + 0.06 * (1 - male),
        "hairline": person.between(0.66, 0.72) + 0.07 * age * male,
        "no_locks": 1.0 - long_hair,
        "hair_end": person.between(-1.15, -0.35),
    }


def _worn(c: Mapping[str, Any], person: Uniforms) -> dict[str, Array]:
    """Glasses, mask, hat, clothes: on or off by the condition, their looks by the person."""
    accessory, hat = c["accessory"], c["headwear"] == "hat"
    dark = accessory == "sunglasses"
    peak = person.between(0, 1) < 0.65
    cloth = person.choice(CLOTH)
    return {
        **_columns("cloth", cloth),
        **_columns("frame", np.where(person.between(0, 1)[:, None] < 0.75, 0.012, np.array([[0.25, 0.10, 0.03]]))),
        **_columns("mask", person.choice(MASKS)),
        **_columns("hat", person.choice(HAT)),
        **_columns("seat", person.choice(SEAT)),
        "lens_x": np.where(dark, 0.265, 0.225) + person.between(-0.01, 0.015),
        "lens_y": np.where(dark, 0.195, 0.165) + person.between(-0.015, 0.03),
        "lens_round": person.between(0.08, 0.15),
        "rim": np.where(dark, 0.018, 0.019) + person.between(-0.002, 0.006),
        "no_frame": 1.0 - np.isin(accessory, ("glasses", "sunglasses")),
        "no_dark_lens": 1.0 - dark,
        "clear_lens": (accessory == "glasses").astype(float),
        "no_mask": 1.0 - (accessory == "mask"),
        "no_hat": 1.0 - hat,
        "no_peak": 1.0 - peak,
        "hat_height": np.where(peak, 0.64, 0.74) + person.between(-0.02, 0.04),
        "hat_edge": person.between(0.46, 0.53),
    }


def _arm(c: Mapping[str, Any], s: Mapping[str, Array], moment: Uniforms) -> dict[str, Array]:
    """Where the raised hand is for each distraction: in head coordinates for what is held to the head,
    in the cabin's for an arm that reaches out."""
    kind = c["distraction_type"]
    away = -np.sign(c["head_yaw"].astype(float)) * (np.abs(c["head_yaw"].astype(float)) > 8.0)
    side = np.where(moment.between(0, 1) < 0.5, -1.0, 1.0)
    side = np.where((away != 0.0) & (kind != "adjusting"), away, side)  # the side that the camera sees
    jitter = np.stack([moment.between(-0.03, 0.03) for _ in range(3)], axis=-1)
    count = len(kind)
    hand, finger, knuckle, elbow = (
        np.tile(v, (count, 1)) for v in ([9.0, 0, 0], [0, 1.0, 0], [1.0, 0, 0], [9.0, -2.0, 0])
    )
    in_head = np.isin(kind, ("phone", "eating", "other"))
    for name, (h, f, k, e) in {
        "phone": ((0.93, -0.34, 0.34), (-0.12, 0.75, 0.30), (0.05, 0.25, -0.95), (1.15, -2.1, 0.45)),
        "eating": ((0.26, -0.72, 0.92), (-0.75, 0.60, 0.10), (0.45, 0.60, 0.25), (1.05, -2.1, 0.75)),
        "other": ((0.60, 0.44, 0.62), (-0.60, 0.75, -0.12), (0.65, 0.55, -0.45), (1.45, -1.55, 0.75)),
        "adjusting": ((0.74, -0.52, 1.35), (-0.10, 0.92, 0.40), (0.95, 0.10, -0.15), (0.95, -1.9, 0.5)),
    }.items():
        rows = kind == name
        hand[rows], finger[rows], knuckle[rows], elbow[rows] = h, f, k, e
    mirror = np.stack([side, np.ones(count), np.ones(count)], axis=-1)
    hand, finger, knuckle, elbow = (hand * mirror + jitter, finger * mirror, knuckle * mirror, elbow * mirror)
    rotation = np.stack([np.stack([s[f"r{i}{j}"] for j in range(3)], axis=-1) for i in range(3)], axis=-2)
    pivot = np.stack([s["head_x"], s["head_y"], s["head_z"]], axis=-1)
    world = np.einsum("bij,bj->bi", rotation, hand - PIVOT) + pivot
    hand = np.where(in_head[:, None], world, hand)
    finger = np.where(in_head[:, None], np.einsum("bij,bj->bi", rotation, finger), finger)
    knuckle = np.where(in_head[:, None], np.einsum("bij,bj->bi", rotation, knuckle), knuckle)
    finger /= np.linalg.norm(finger, axis=1, keepdims=True) + 1e-9
    knuckle -= (knuckle * finger).sum(axis=1, keepdims=True) * finger
    knuckle /= np.linalg.norm(knuckle, axis=1, keepdims=True) + 1e-9
    wrist = hand + 0.30 * (elbow - hand) / (np.linalg.norm(elbow - hand, axis=1, keepdims=True) + 1e-9)
    wrist -= 0.10 * finger
    columns: dict[str, Array] = {}
    for name, point in (("hand", hand), ("finger", finger), ("knuckle", knuckle), ("wrist", wrist), ("elbow", elbow)):
        columns |= {f"{name}_{axis}": point[:, i] for i, axis in enumerate("xyz")}
    columns |= {"arm_side": side, "no_arm": (kind == "none").astype(float)}
    return columns | {"no_phone": 1.0 - (kind == "phone"), "no_food": 1.0 - (kind == "eating")}


def _light(c: Mapping[str, Any], moment: Uniforms) -> dict[str, Array]:
    """Radiance of the sun (or lamp), the sky, the camera's own infrared lamp, and what the window shows."""
    kind = c["lighting"]
    day, night, tunnel, back = ((kind == name).astype(float) for name in ("day", "night", "tunnel", "backlight"))
    sun = day * moment.between(1.5, 2.1) + tunnel * moment.between(0.85, 1.1) + back * 0.10
    sun_colour = np.where(tunnel[:, None] > 0, [[1.0, 0.55, 0.16]], [[1.0, 0.93, 0.82]])
    sky_colour = np.where(tunnel[:, None] > 0, [[1.0, 0.62, 0.26]], [[0.85, 0.95, 1.1]])
    sky = day * moment.between(0.50, 0.65) + tunnel * 0.42 + back * moment.between(0.22, 0.28) + night * 0.02
    angle = moment.between(-0.15, 0.15)
    direction = np.stack(
        [
            np.where(tunnel > 0, 0.25 + angle, -0.72 + 0.3 * angle),
            np.where(tunnel > 0, 0.92, 0.42 + angle),
            np.where(tunnel > 0, 0.30, np.where(back > 0, -0.6, 0.55)),
        ],
        axis=-1,
    )
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return {
        **{f"sun_{axis}": direction[:, i] for i, axis in enumerate("xyz")},
        **_columns("sun", sun_colour * sun[:, None]),
        **_columns("sky", sky_colour * sky[:, None]),
        "lamp": night * moment.between(0.95, 1.15),
        "rim_light": back * moment.between(1.6, 2.2) + 0.12 * day,
        "infrared": night,
        "window": day * moment.between(0.75, 0.95) + tunnel * 0.10 + back * moment.between(2.2, 2.8) + night * 0.012,
        "rear": day * 0.55 + tunnel * 0.06 + back * moment.between(2.2, 2.8) + night * 0.006,
        "tunnel": tunnel,
        "horizon": moment.between(-0.1, 0.25),
        "scenery": moment.between(0.0, 6.28),
        "veil": back * moment.between(0.012, 0.025),
    }


def _camera(domain: Domain, moment: Uniforms) -> dict[str, Array]:
    jitter = domain.camera_jitter
    like = moment.between(-jitter, jitter)
    return {
        "camera_x": domain.camera[0] + like,
        "camera_y": domain.camera[1] + moment.between(-jitter, jitter),
        "camera_z": domain.camera[2] + 0 * like,
        "half_extent": domain.half_extent * moment.between(0.98, 1.02),
        "distortion": domain.distortion + 0 * like,
        "exposure": moment.between(0.90, 1.10),
        "blur": domain.blur * moment.between(0.7, 1.3),
        "vignette": domain.vignette + 0 * like,
        "read_noise": domain.read_noise + 0 * like,
        "shot_noise": domain.shot_noise + 0 * like,
    }
