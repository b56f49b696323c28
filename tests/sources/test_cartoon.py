"""The cabin draws what its labels say, the same frame whatever the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from contract.schemas import CABIN
from sources.cartoon.cabin import LANDMARKS, Batch, Cabin
from sources.cartoon.domains import CABIN_DOMAIN, PSEUDO_REAL_DOMAIN
from sources.cartoon.sensor import blur
from sources.cartoon.sheet import NEUTRAL

SIZE = 64
ROUNDING = 1
"""Levels of 255: a frame may round differently where the batch changes the order of vectorised float32 sums."""


@pytest.fixture(scope="module")
def cabin() -> Cabin:
    return Cabin(SIZE, compiled=False)


def draw(cabin: Cabin, *changes: dict[str, Any], subject: int = 20) -> Batch:
    """One neutral frame with each of the changes, all of one person and one moment's noise."""
    count = len(changes)
    return cabin.draw([NEUTRAL | change for change in changes], [subject] * count, 7, [3] * count)


def around(batch: Batch, row: int, name: str, half: int = 5) -> np.ndarray[Any, Any]:
    """The pixels around a landmark, as float [h, w, 3]."""
    x, y = (batch.landmarks[row, LANDMARKS.index(name)] * SIZE).astype(int)
    return batch.frames[row, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1].astype(float)


def eye(batch: Batch, row: int) -> np.ndarray[Any, Any]:
    """The pixels of the left eye, corner to corner."""
    outer, inner = (batch.landmarks[row, LANDMARKS.index(f"eye_left_{end}")] * SIZE for end in ("outer", "inner"))
    y = int((outer[1] + inner[1]) / 2)
    return batch.frames[row, y - 4 : y + 4, int(outer[0]) : int(inner[0]) + 1].astype(float)


def test_a_frame_depends_on_seed_and_index_alone(cabin: Cabin) -> None:
    together, alone = cabin.render(5, [8, 9, 10]), cabin.render(5, [9])
    assert np.abs(together.frames[1].astype(int) - alone.frames[0]).max() <= ROUNDING
    assert together.conditions[1] == alone.conditions[0]
    assert np.array_equal(together.landmarks[1], alone.landmarks[0])
    other = cabin.render(6, [9])
    assert np.abs(other.frames[0].astype(int) - alone.frames[0]).mean() > 5


def test_blur_doesnt_depend_on_the_batch() -> None:
    images = torch.rand(2, 3, 16, 16)
    sigma = torch.tensor([0.45, 1.9])
    assert torch.equal(blur(images, sigma)[:1], blur(images[:1], sigma[:1]))


def test_conditions_are_complete_and_follow_the_prior_in_most_frames(cabin: Cabin) -> None:
    conditions, subjects = cabin.conditions(0, range(600))
    assert all(CABIN.check(condition) == condition and len(condition) == len(CABIN.names) for condition in conditions)
    field = CABIN.field("eye_openness")
    bands = dict(zip(CABIN.field("fatigue_level").values, field.prior, strict=True))
    inside = [bands[c["fatigue_level"]][0] <= c["eye_openness"] <= bands[c["fatigue_level"]][1] for c in conditions]
    assert 0.65 < np.mean(inside) < 0.9
    known = {}
    for condition, subject in zip(conditions, subjects, strict=True):
        born = (condition["gender"], condition["age_group"], condition["skin_tone"])
        assert known.setdefault(subject, born) == born


def test_given_fields_are_drawn_as_given(cabin: Cabin) -> None:
    batch = cabin.render(1, range(4), {"lighting": "night", "accessory": "sunglasses"})
    assert {c["lighting"] for c in batch.conditions} == {"night"}
    assert all({"eye_openness", "gaze_yaw", "fatigue_level"} <= set(hidden) for hidden in batch.hidden)


def test_night_is_monochrome_and_day_is_not(cabin: Cabin) -> None:
    batch = draw(cabin, {"lighting": "night"}, {"lighting": "day"}, {"lighting": "tunnel"}, {"lighting": "backlight"})
    spread = np.ptp(batch.frames.astype(int), axis=-1).mean(axis=(1, 2))
    assert spread[0] == 0 and spread[1] > 10
    red, blue = batch.frames[2, ..., 0].mean(), batch.frames[2, ..., 2].mean()
    assert red > 2 * blue, "a tunnel is lit by sodium lamps"
    face = around(batch, 3, "nose_tip").mean()
    assert face < 0.75 * around(batch, 1, "nose_tip").mean(), "against the light the face is dark"
    assert batch.frames[3].max() >= 250, "and the window blown out"


def test_eyes_are_large_enough_for_64_pixels(cabin: Cabin) -> None:
    batch = draw(cabin, {})
    width = (batch.landmarks[0, 1, 0] - batch.landmarks[0, 0, 0]) * SIZE
    assert width >= 10.0
    dark_columns = (eye(batch, 0)[3:6].mean(axis=-1) < 125).any(axis=0).sum()
    assert dark_columns >= 4, "the iris is at least 4 pixels wide"


def test_lids_close_with_eye_openness(cabin: Cabin) -> None:
    batch = draw(cabin, *({"eye_openness": openness} for openness in (0.0, 0.35, 0.7, 1.0)))
    changed = [np.abs(eye(batch, row) - eye(batch, 0)).mean() for row in range(4)]
    assert changed == sorted(changed) and changed[1] > 2 and changed[3] > changed[1] + 8


@pytest.mark.parametrize(("field", "axis"), [("gaze_yaw", 1), ("gaze_pitch", 0)])
def test_irises_follow_the_gaze(cabin: Cabin, field: str, axis: int) -> None:
    ends = CABIN.field(field)
    batch = draw(cabin, *({"eye_openness": 1.0, field: value} for value in (ends.low, 0.0, ends.high)))
    centres = []
    for row in range(3):
        darkness = np.clip(110.0 - eye(batch, row).mean(axis=-1), 0.0, None)
        places = np.arange(darkness.shape[axis])
        centres.append((darkness.sum(axis=1 - axis) * places).sum() / darkness.sum())
    expected = centres if axis == 1 else centres[::-1]
    assert expected == sorted(expected) and abs(centres[2] - centres[0]) > 1.0


def test_the_head_turns_and_nods(cabin: Cabin) -> None:
    batch = draw(cabin, {"head_yaw": -45.0}, {"head_yaw": 45.0}, {"head_pitch": -25.0}, {"head_pitch": 25.0})
    nose = batch.landmarks[:, LANDMARKS.index("nose_tip")]
    assert nose[0, 0] < 0.4 < 0.6 < nose[1, 0], "positive yaw towards the right edge of the picture"
    assert nose[2, 1] > nose[3, 1] + 0.1, "positive pitch upwards"


def test_the_mouth_opens_dark(cabin: Cabin) -> None:
    batch = draw(cabin, {"mouth_openness": 0.0}, {"mouth_openness": 1.0})
    dark = [(around(batch, row, "mouth_bottom", 6).mean(axis=-1) < 60).sum() for row in range(2)]
    assert dark[1] > dark[0] + 8


@pytest.mark.parametrize(
    ("change", "landmark"),
    [
        ({"accessory": "glasses"}, "eye_left_outer"),
        ({"accessory": "sunglasses"}, "eye_left_outer"),
        ({"accessory": "mask"}, "mouth_bottom"),
        ({"distraction_type": "eating"}, "mouth_top"),
        ({"fatigue_level": "severe"}, "eye_right_inner"),
    ],
)
def test_what_is_asked_for_changes_the_frame_where_it_should(
    cabin: Cabin, change: dict[str, Any], landmark: str
) -> None:
    batch = draw(cabin, {}, change)
    assert np.abs(around(batch, 0, landmark) - around(batch, 1, landmark)).mean() > 12


@pytest.mark.parametrize("kind", ["phone", "adjusting", "other", "eating"])
def test_a_hand_is_in_the_picture(cabin: Cabin, kind: str) -> None:
    batch = draw(cabin, {"head_yaw": 15.0}, {"head_yaw": 15.0, "distraction_type": kind})
    changed = (np.abs(batch.frames[0].astype(int) - batch.frames[1]).sum(axis=-1) > 60).mean()
    assert changed > 0.04


def test_a_hat_covers_the_top(cabin: Cabin) -> None:
    batch = draw(cabin, {}, {"headwear": "hat"})
    assert np.abs(batch.frames[0, :16].astype(int) - batch.frames[1, :16]).mean() > 20


def test_no_frame_is_broken(cabin: Cabin) -> None:
    batch = cabin.render(11, range(24))
    flat = batch.frames.reshape(len(batch.frames), -1).astype(float)
    assert (flat.std(axis=1) > 8).all() and (flat.mean(axis=1) > 10).all()


def test_the_two_domains_share_nobody_and_no_camera() -> None:
    assert CABIN_DOMAIN.identity_seed != PSEUDO_REAL_DOMAIN.identity_seed
    here, there = (Cabin(SIZE, domain, compiled=False).render(0, [4]) for domain in (CABIN_DOMAIN, PSEUDO_REAL_DOMAIN))
    assert np.abs(here.frames.astype(int) - there.frames).mean() > 8


def test_larger_frames_show_the_same_scene() -> None:
    small = Cabin(32, compiled=False).render(2, [1])
    large = Cabin(64, compiled=False).render(2, [1])
    shrunk = large.frames.reshape(1, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small.frames).mean() < 6
    assert np.array_equal(small.landmarks, large.landmarks)
