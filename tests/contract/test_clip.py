from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contract.clip import (
    BLINK_SECONDS,
    BLINKS_PER_MINUTE,
    CLOSING,
    MICROSLEEP_SECONDS,
    PERCLOS_OPENNESS,
    SHUT,
    TRAJECTORY,
    YAWN_SECONDS,
    Clip,
    move,
    moving,
    perclos_of,
)
from contract.conditions import Schema
from contract.dataset import ClipShape
from contract.field import Condition
from contract.noise import open_fields, stream
from contract.schemas import CABIN, DOCUMENT

HOUR = ClipShape(frames=3600 * 30, fps=30.0)
MINUTE = ClipShape(frames=60 * 30, fps=30.0)
ROUNDED = 1e-4
"""Of expected values, which are written with four places."""
STATISTICAL = 0.1
"""An hour holds about a thousand blinks, whose relative standard error is 3 %: three of them."""


def _clip(fatigue: str, shape: ClipShape = MINUTE, seed: int = 1, **given: object) -> tuple[Condition, Clip]:
    condition = CABIN.complete({"fatigue_level": fatigue, **given}, open_fields(seed, 0))
    return condition, move(CABIN, condition, shape, stream(seed, 0, TRAJECTORY), held=given)


def _column(clip: Clip, name: str) -> np.ndarray:
    return np.array([float(condition[name]) for condition in clip.conditions])


def test_an_alert_driver_blinks_as_often_and_as_long_as_the_papers_say() -> None:
    _, clip = _clip("normal", HOUR)
    figures = clip.figures(CABIN, HOUR)
    assert figures["blinks_per_minute"] == pytest.approx(BLINKS_PER_MINUTE[0], rel=STATISTICAL)
    assert np.mean([blink.seconds for blink in clip.blinks]) == pytest.approx(BLINK_SECONDS[0], rel=STATISTICAL)
    assert not clip.microsleeps and not clip.yawns


def test_a_tired_driver_has_microsleeps_and_yawns_and_a_higher_perclos() -> None:
    perclos = [_clip(level, HOUR)[1].figures(CABIN, HOUR)["perclos"] for level in ("normal", "moderate", "severe")]
    assert perclos == sorted(perclos) and perclos[0] < 0.05 < 0.15 < perclos[2] < 0.4
    _, clip = _clip("severe", HOUR)
    assert all(
        blink.seconds <= MICROSLEEP_SECONDS[0] <= sleep.seconds
        for blink in clip.blinks[:50]
        for sleep in clip.microsleeps
    )
    assert np.mean([yawn.seconds for yawn in clip.yawns]) == pytest.approx(YAWN_SECONDS, rel=STATISTICAL)


def test_perclos_is_the_share_of_time_at_least_80_percent_closed() -> None:
    assert perclos_of(np.array([1.0, 0.2, 0.1, 0.21])) == 0.5
    _, clip = _clip("severe")
    expected = float((_column(clip, "eye_openness") <= PERCLOS_OPENNESS).mean())
    assert clip.figures(CABIN, MINUTE)["perclos"] == expected > 0


def test_perclos_without_blinks_counts_microsleeps_alone() -> None:
    for fatigue in ("normal", "severe"):
        _, clip = _clip(fatigue)
        figures, times = clip.figures(CABIN, MINUTE), np.arange(MINUTE.frames) / MINUTE.fps
        asleep = np.any([(times > s.start) & (times < s.start + s.seconds) for s in clip.microsleeps], axis=0)
        closed = (_column(clip, "eye_openness") <= PERCLOS_OPENNESS) & asleep
        assert figures["perclos_without_blinks"] == float(closed.mean()) < figures["perclos"]


def test_the_lid_closes_faster_than_it_opens_by_what_was_measured() -> None:
    assert 1.40 <= (1.0 - CLOSING - SHUT) / CLOSING <= 1.47


def test_perclos_of_less_than_a_minute_is_null_with_a_reason() -> None:
    shape = ClipShape(frames=1799, fps=30.0)
    figures = _clip("severe", shape)[1].figures(CABIN, shape)
    assert figures["perclos"] is None and "PERCLOS is defined over 60 s" in figures["perclos_reason"]
    assert figures["blinks_per_minute"] == pytest.approx(figures["blinks"] * 60 / shape.seconds)


def test_every_frame_is_a_valid_condition_of_the_same_driver() -> None:
    condition, clip = _clip("severe")
    moving = {"eye_openness", "mouth_openness", "gaze_yaw", "gaze_pitch", "head_pitch"}
    for frame in clip.conditions:
        assert CABIN.check(frame) == frame
        assert all(frame[name] == condition[name] for name in CABIN.names if name not in moving)
    assert all(np.ptp(_column(clip, name)) > 0 for name in moving)


def test_the_head_sinks_while_the_eyes_are_shut() -> None:
    _, clip = _clip("severe", head_pitch=0.0)
    pitch, eyes = _column(clip, "head_pitch"), _column(clip, "eye_openness")
    assert pitch.max() == 0.0 and pitch.min() < -5.0
    times = np.arange(MINUTE.frames) / MINUTE.fps
    asleep = np.any([(times > s.start) & (times < s.start + s.seconds) for s in clip.microsleeps], axis=0)
    assert ((pitch < 0) == asleep).all() and (eyes[asleep] < eyes.max()).all()
    assert np.median(eyes[asleep]) == 0.0


def test_what_the_plan_sets_is_the_rest_position() -> None:
    _, clip = _clip("normal", eye_openness=0.6, mouth_openness=0.4, gaze_yaw=20.0)
    assert _column(clip, "eye_openness").max() == pytest.approx(0.6)
    assert (_column(clip, "mouth_openness") == 0.4).all()
    assert np.median(_column(clip, "gaze_yaw")) == pytest.approx(20.0, abs=1.5)


def test_fields_are_found_by_role_and_never_by_name() -> None:
    fields = tuple(
        replace(field, name=f"x{i}", given=None, given_weights=(), prior=(), hidden=())
        for i, field in enumerate(CABIN.fields)
    )
    renamed, names = (
        Schema("renamed", CABIN.width, fields),
        dict(zip(CABIN.names, (f.name for f in fields), strict=True)),
    )
    condition, clip = _clip("severe")
    other = move(renamed, {names[name]: value for name, value in condition.items()}, MINUTE, stream(1, 0, TRAJECTORY))
    assert other.conditions == [{names[n]: v for n, v in frame.items()} for frame in clip.conditions]


def test_a_schema_without_roles_stands_still_and_says_so() -> None:
    condition = DOCUMENT.complete({}, open_fields(1, 0))
    clip = move(DOCUMENT, condition, MINUTE, stream(1, 0, TRAJECTORY))
    assert clip.conditions == [condition] * MINUTE.frames
    figures = clip.figures(DOCUMENT, MINUTE)
    assert figures["perclos"] is None and "eye_openness" in figures["perclos_reason"]
    assert figures["blinks_per_minute"] is None and not moving(DOCUMENT) and len(moving(CABIN)) == 5


def test_the_same_seed_moves_the_same_way_and_another_differently() -> None:
    assert _clip("mild")[1] == _clip("mild")[1]
    assert _column(_clip("mild")[1], "gaze_yaw").tolist() != _column(_clip("mild", seed=2)[1], "gaze_yaw").tolist()


def test_a_seed_moves_as_it_always_has() -> None:
    """Data sets are drawn again from their seeds: another order of draws would make other clips of them."""
    start = {"eye_openness": 0.5, "mouth_openness": 0.3, "gaze_yaw": 16.0, "gaze_pitch": -15.0, "head_pitch": -11.0}
    condition = CABIN.complete({"fatigue_level": "severe", **start}, open_fields(7, 3))
    clip = move(CABIN, condition, ClipShape(frames=600, fps=10.0), stream(7, 3, TRAJECTORY))
    assert (len(clip.blinks), len(clip.microsleeps), len(clip.yawns)) == (27, 4, 4)
    frames = {
        0: (0.4838, 0.0065, 16.0, -15.0, -11.0),
        150: (0.3698, 0.0065, 14.9437, -14.1767, -11.0),
        299: (0.0, 0.0065, 18.4442, -11.0480, -22.8671),
        599: (0.4838, 0.5943, 14.3125, -15.5507, -11.0),
    }
    for number, expected in frames.items():
        found = [clip.conditions[number][name] for name in moving(CABIN)]
        np.testing.assert_allclose(found, expected, atol=ROUNDED)
