"""A second, tiny source: a seat seen by a near-infrared camera, with a schema, landmarks and an image shape of its own.

Frames are 16 x 24 pixels of one channel. Every field but one is drawn, so that tests can read it back from pixels.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contract.conditions import Schema
from contract.field import Condition, Field, OcclusionRule
from contract.frames import Frames
from contract.noise import open_fields
from sources.base import LabelledFrames, Landmarks, fingerprint

HEIGHT, WIDTH = 16, 24

SEAT = Schema(
    "seat",
    6,
    (
        Field("occupant", 0, ("none", "child", "adult"), ((-1.0,), (0.0,), (1.0,)), ordered=True),
        Field("belt", 1, ("open", "closed"), ((1.0, 0.0), (0.0, 1.0)), hidden=(OcclusionRule("occupant", ("none",)),)),
        Field("lamp", 3, low=0.0, high=100.0, unit="percent"),
        Field("lean", 4, low=-10.0, high=10.0, unit="degrees", mirrored=True),
        Field("weight", 5, low=0.0, high=120.0, unit="kg", personal=True),
    ),
)

LANDMARKS = Landmarks(("shoulder_left", "shoulder_right"), mirror=(("shoulder_left", "shoulder_right"),))

HEIGHTS = {"none": 0, "child": 8, "adult": 16}
"""Rows from the bottom that an occupant fills."""


def draw(condition: Condition) -> npt.NDArray[np.uint8]:
    """One frame [16, 24, 1]: the lamp is the background, the occupant a bright block, the belt a black row in it."""
    frame = np.full((HEIGHT, WIDTH, 1), 20.0 + 0.8 * float(condition["lamp"]), dtype=np.float64)
    rows, left = HEIGHTS[str(condition["occupant"])], _left(condition)
    frame[HEIGHT - rows :, left : left + 8] = 220.0
    if rows and condition["belt"] == "closed":
        frame[HEIGHT - 6 : HEIGHT - 3, left : left + 8] = 0.0
    return frame.astype(np.uint8)


def _left(condition: Condition) -> int:
    return 8 + round(float(condition["lean"]) * 0.3)


def seat_source(count: int, seed: int = 0) -> LabelledFrames:
    """Frames of conditions drawn from the prior."""
    conditions = [SEAT.complete({}, open_fields(seed, index)) for index in range(count)]
    frames: Frames = np.stack([draw(condition) for condition in conditions])
    encoded = SEAT.encode(conditions)
    lefts = np.array([_left(condition) for condition in conditions])
    points = np.stack([np.stack([lefts, lefts + 8], axis=1) / WIDTH, np.full((count, 2), 0.5)], axis=2)
    hidden = np.array([[name in SEAT.hidden(condition) for name in SEAT.names] for condition in conditions])
    known = fingerprint(frames, encoded)
    return LabelledFrames(SEAT, frames, encoded, points.astype(np.float32), hidden, np.arange(count), known, LANDMARKS)


def read_back(frames: Frames) -> tuple[npt.NDArray[np.float64], list[str]]:
    """What frames [N, 16, 24, 1] show: the lamp in percent [N], and the occupant."""
    levels = frames[..., 0].astype(np.float64)
    lamp = (np.median(levels[:, :, :3].reshape(len(frames), -1), axis=1) - 20.0) / 0.8
    middle = levels[:, :, 11:13]  # which the block covers however it leans
    upper = np.median(middle[:, 1:7].reshape(len(frames), -1), axis=1) > 160
    lower = np.median(middle[:, 8:16].reshape(len(frames), -1), axis=1) > 160
    return lamp, ["adult" if up else "child" if low else "none" for up, low in zip(upper, lower, strict=True)]
