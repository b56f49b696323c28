"""What a frame shows and whether that is what was asked, on annotations made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.annotation import Annotation, agrees, class_fields, likelihood, measured, number_fields
from contract.field import Condition
from contract.schemas import CABIN

ASKED = CABIN.complete(
    {"sensor": "rgb", "lighting": "day", "accessory": "none", "eye_openness": 0.8}, np.random.default_rng(0)
)


def annotation_of(conditions: list[Condition], sure: float = 0.9) -> Annotation:
    """What a perfect annotator would say, with probability `sure` for each class."""
    classes, numbers = class_fields(CABIN), number_fields(CABIN)
    count = len(conditions)
    probabilities = np.zeros((count, max(s.stop for s in classes.values())), np.float32)
    values = np.zeros((count, len(numbers)), np.float32)
    for row, condition in enumerate(conditions):
        for name, columns in classes.items():
            options = CABIN.field(name).values
            probabilities[row, columns] = (1 - sure) / (len(options) - 1)
            probabilities[row, columns.start + options.index(str(condition[name]))] = sure
        values[row] = [float(condition[name]) for name in numbers]
    return Annotation(probabilities, values, values * 0, np.zeros((count, 0, 2), np.float32), values)


def test_a_perfect_annotator_agrees() -> None:
    entry = measured(CABIN, annotation_of([ASKED]), 0, ASKED)
    assert entry["lighting"] == ASKED["lighting"] and entry["eye_openness"] == pytest.approx(0.8)
    assert agrees(CABIN, entry, ASKED)
    assert list(entry) == list(CABIN.names)


@pytest.mark.parametrize("name", list(CABIN.names))
def test_every_visible_field_can_disagree(name: str) -> None:
    field = CABIN.field(name)
    asked = ASKED | {"eye_openness": 0.9, "gaze_yaw": 0.0, "gaze_pitch": 0.0, "distraction_type": "none"}
    if field.is_class:
        other: Any = next(value for value in field.values if value != asked[name] and value != "sunglasses")
    else:
        other = field.high - 0.3 * (field.high - field.low)
    asked = CABIN.check(asked | ({name: field.high} if not field.is_class else {}))
    entry = measured(CABIN, annotation_of([CABIN.check(asked | {name: other})]), 0, asked)
    assert not agrees(CABIN, entry, asked)


@pytest.mark.parametrize(("share", "same"), [(0.19, True), (0.21, False)])
@pytest.mark.parametrize("name", list(number_fields(CABIN)))
def test_a_number_may_differ_by_a_fifth_of_its_range(name: str, share: float, same: bool) -> None:
    field = CABIN.field(name)
    apart = share * (field.high - field.low)
    visible = ASKED | {"eye_openness": 0.9, "distraction_type": "none"}
    for number, shown in ((field.low, field.low + apart), (field.high, field.high - apart)):
        asked = visible | {name: number}
        entry = measured(CABIN, annotation_of([visible | {name: shown}]), 0, asked)
        assert entry[name] is not None and agrees(CABIN, entry, asked) == same


def test_what_is_hidden_is_null_and_no_disagreement() -> None:
    asked = ASKED | {"accessory": "sunglasses", "fatigue_level": "normal", "eye_openness": 0.9}
    shown = asked | {"fatigue_level": "severe", "eye_openness": 0.1, "gaze_yaw": -30.0}
    entry = measured(CABIN, annotation_of([shown]), 0, asked)
    hidden = {"fatigue_level", "eye_openness", "gaze_yaw", "gaze_pitch"}
    assert {name for name, value in entry.items() if value is None} == hidden
    assert agrees(CABIN, entry, asked)
    assert likelihood(CABIN, annotation_of([shown]), 0, asked) == pytest.approx(0.9)


def test_eyes_that_came_out_shut_have_no_gaze() -> None:
    entry = measured(CABIN, annotation_of([ASKED | {"eye_openness": 0.1}]), 0, ASKED)
    assert entry["gaze_yaw"] is None and entry["eye_openness"] == pytest.approx(0.1)
    assert not agrees(CABIN, entry, ASKED), "the openness itself was asked to be 0.8"


@given(st.integers(0, 2**32), st.floats(0.51, 0.99))
def test_a_likelihood_above_a_half_means_the_same_classes(seed: int, sure: float) -> None:
    stream = np.random.default_rng(seed)
    asked, shown = CABIN.complete({}, stream), CABIN.complete({}, stream)
    for drawn in (asked, shown):
        annotation = annotation_of([drawn], sure)
        entry = measured(CABIN, annotation, 0, asked)
        visible = [n for n in class_fields(CABIN) if n not in CABIN.hidden(asked)]
        same = all(entry[name] in (None, asked[name]) for name in visible)
        assert (likelihood(CABIN, annotation, 0, asked) > 0.5) <= same


def test_rows_and_join() -> None:
    whole = annotation_of([ASKED, ASKED | {"lighting": "night"}, ASKED | {"headwear": "hat"}])
    parts = [whole.rows(slice(0, 1)), whole.rows([1, 2])]
    assert all(np.array_equal(a, b) for a, b in zip(Annotation.join(parts), whole, strict=True))


def test_a_measured_number_stays_in_its_range() -> None:
    """float32 and rounding carry it over the edge, and no record may hold what the schema refuses."""
    shown = ASKED | {"gaze_yaw": 35.0004, "head_yaw": -45.6, "eye_openness": 1.0006}
    entry = measured(CABIN, annotation_of([shown]), 0, ASKED)
    assert (entry["gaze_yaw"], entry["head_yaw"], entry["eye_openness"]) == (35.0, -45.0, 1.0)
    CABIN.check({name: value for name, value in entry.items() if value is not None})
