"""The two condition schemas that the project defines: the source document's and its own."""

from __future__ import annotations

from contract.conditions import Schema
from contract.field import Field, OcclusionRule


def _one_hot(count: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(i == j) for j in range(count)) for i in range(count))


def _scale(count: int) -> tuple[tuple[float, ...], ...]:
    return tuple((2.0 * i / (count - 1) - 1.0,) for i in range(count))


DOCUMENT = Schema(
    "document",
    10,
    (
        Field("fatigue_level", 0, ("normal", "mild", "moderate", "severe"), ((0.0,), (0.3,), (0.6,), (0.9,)), True),
        Field(
            "distraction_type",
            1,
            ("none", "phone", "eating", "adjusting", "other"),
            ((0.0,), (0.25,), (0.5,), (0.75,), (1.0,)),
        ),
        Field(
            "lighting",
            2,
            ("day", "night", "tunnel", "backlight"),
            ((1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (0.8, 0.2)),
        ),
        Field("accessory", 4, ("none", "glasses", "sunglasses", "mask"), ((0.0,), (1 / 3,), (2 / 3,), (1.0,))),
    ),
)
"""The source document's 10 numbers, kept for its checkpoints: slots 5 to 9 are unused, and unordered
classes share one number line. Gender and age, which the document declares, never reach its network, so
frames made from its checkpoints carry no label for them."""

_DARK = OcclusionRule("accessory", ("sunglasses",))
_MASK = OcclusionRule("accessory", ("mask",))
_FOOD = OcclusionRule("distraction_type", ("eating",))
_SHUT = OcclusionRule("eye_openness", below=0.2)
_INFRARED = OcclusionRule("sensor", ("nir",))
"""A near-infrared camera sees by its own lamp: a tunnel is as dark as the night, and skin is alike."""

_BY_DAY = (0.6, 0.4)
"""Shares of `rgb` and `nir` among frames that aren't taken at night; at night all are `nir`."""

CABIN = Schema(
    "cabin",
    28,
    (
        Field(
            "sensor",
            0,
            ("rgb", "nir"),
            _one_hot(2),
            given="lighting",
            given_weights=(_BY_DAY, (0.0, 1.0), _BY_DAY, _BY_DAY),
        ),
        Field(
            "fatigue_level",
            2,
            ("normal", "mild", "moderate", "severe"),
            _scale(4),
            True,
            hidden=(_DARK,),
            role="fatigue",
        ),
        Field(
            "distraction_type",
            3,
            ("none", "phone", "eating", "adjusting", "other"),
            _one_hot(5),
            role="distraction",
        ),
        Field("lighting", 8, ("day", "night", "tunnel", "backlight"), _one_hot(4), hidden=(_INFRARED,)),
        Field("accessory", 12, ("none", "glasses", "sunglasses", "mask"), _one_hot(4)),
        Field("gender", 16, ("male", "female"), _one_hot(2), personal=True),
        Field("age_group", 18, ("young", "middle", "senior"), _scale(3), True, personal=True),
        Field("headwear", 19, ("none", "hat"), _one_hot(2), weights=(0.8, 0.2)),
        Field(
            "eye_openness",
            21,
            prior=((0.75, 1.0), (0.5, 0.65), (0.25, 0.4), (0.0, 0.15)),
            given="fatigue_level",
            hidden=(_DARK,),
            role="eye_openness",
        ),
        Field(
            "mouth_openness",
            22,
            prior=((0.0, 0.2), (0.0, 0.35), (0.0, 0.8), (0.0, 0.5)),
            given="fatigue_level",
            hidden=(_MASK, _FOOD),
            role="mouth_openness",
        ),
        Field(
            "gaze_yaw",
            23,
            low=-35.0,
            high=35.0,
            unit="degrees",
            prior=((-25.0, 25.0),),
            hidden=(_DARK, _SHUT),
            role="gaze_yaw",
            mirrored=True,
        ),
        Field(
            "gaze_pitch",
            24,
            low=-25.0,
            high=25.0,
            unit="degrees",
            prior=((-15.0, 15.0),),
            hidden=(_DARK, _SHUT),
            role="gaze_pitch",
        ),
        Field(
            "head_yaw", 25, low=-45.0, high=45.0, unit="degrees", prior=((-25.0, 25.0),), role="head_yaw", mirrored=True
        ),
        Field("head_pitch", 26, low=-25.0, high=25.0, unit="degrees", prior=((-12.0, 12.0),), role="head_pitch"),
        Field("skin_tone", 27, personal=True, hidden=(_INFRARED,)),
    ),
)
"""The project's own schema: ordered classes on a scale from -1 to 1, unordered ones one-hot, openness and
skin tone 0 to 1, angles in degrees relative to the camera axis (gaze: relative to the head). Positive yaw
turns towards the right edge of the picture, positive pitch upwards."""

SCHEMAS = {schema.name: schema for schema in (DOCUMENT, CABIN)}
"""The schemas that a bare state dict can be given by name; every other file carries its own."""
