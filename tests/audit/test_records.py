"""Counts and figures of records whose answer is known by hand."""

from __future__ import annotations

from typing import Any

import pytest

from audit.persons import Grouping
from audit.records import HIDDEN, NOT_READ, DatasetTally, Tally, share, tally
from contract.conditions import Schema
from contract.dataset import Dataset, Description
from contract.field import Field
from contract.frames import ImageShape

SCHEMA = Schema(
    "tiny",
    3,
    (
        Field("light", 0, ("day", "night"), ((0.0,), (1.0,))),
        Field("angle", 1, low=-10.0, high=10.0, unit="degrees"),
        Field("tone", 2, personal=True),
    ),
)


def record(light: str, angle: float, tone: float, measured: dict[str, Any] | None = None) -> dict[str, Any]:
    asked = {"light": light, "angle": angle, "tone": tone}
    return asked | {"measured": measured, "agrees": None if measured is None else measured["light"] == light}


RECORDS = [
    record("day", -10.0, 0.1, {"light": "day", "angle": -9.0, "tone": 0.1}),
    record("day", 0.0, 0.2, {"light": "night", "angle": None, "tone": 0.1}),
    record("night", 10.0, 0.9, {"light": "night", "angle": 7.0, "tone": 0.9}),
    record("night", 9.9, 1.0, {"light": "night", "angle": 9.9, "tone": 1.0}),
]


def counted(records: list[dict[str, Any]]) -> DatasetTally:
    from pathlib import Path

    image = ImageShape(3, 8, 8)
    description = Description("", "", None, SCHEMA, image, seed=0, count=len(records))
    return tally(Dataset(Path(), description), records)


def test_conditions_are_counted_by_value_and_by_part_of_the_range() -> None:
    found = counted(RECORDS).all
    assert found.asked["light"] == {"day": 2, "night": 2}
    assert {name: count for name, count in found.asked["angle"].items() if count} == {
        "-10 to -8": 1,
        "0 to 2": 1,
        "8 to 10": 2,
    }


def test_agreement_and_errors_are_over_the_frames_that_show_the_field() -> None:
    found = counted(RECORDS).all
    assert found.agreement()[:1] + found.agreement()[3:] == (0.75, 4, None)
    assert found.class_agreement()["light"].value == 0.75
    error = found.mean_errors()["angle"]
    assert error.value == pytest.approx((1 + 3 + 0) / 3) and error.frames == 3


def test_people_are_told_apart_by_the_fields_that_are_personal() -> None:
    found = counted(RECORDS).persons
    assert list(found) == ["tone"]
    groups = {name: (group.frames, group.agreement().value) for name, group in found["tone"].items()}
    assert groups == {"0 to 0.333": (2, 0.5), "0.333 to 0.667": (0, None), "0.667 to 1": (2, 1.0)}


def test_without_an_annotator_figures_are_null_with_the_reason() -> None:
    found = counted([record("day", 0.0, 0.5)]).all
    assert found.agreement().value is None and found.agreement().reason == NOT_READ
    assert found.class_agreement()["light"].reason == NOT_READ
    assert found.mean_errors()["angle"].reason == NOT_READ


def test_a_field_that_no_frame_shows_has_no_figure() -> None:
    hidden = record("day", 0.0, 0.5, {"light": "day", "angle": None, "tone": None})
    figure = counted([hidden]).all.mean_errors()["angle"]
    assert figure.value is None and figure.reason == HIDDEN


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    # Newcombe 1998, Statistics in Medicine 17: 81 of 263 gives 0.2553 to 0.3662
    figure = share(81, 263)
    assert figure.low == pytest.approx(0.2553, abs=5e-5) and figure.high == pytest.approx(0.3662, abs=5e-5)
    assert share(0, 10).low == 0.0 and share(10, 10).high == pytest.approx(1.0)


@pytest.mark.parametrize(("value", "expected"), [(-10.0, "-10 to -3.33"), (10.0, "3.33 to 10"), (0.0, "-3.33 to 3.33")])
def test_both_ends_of_a_range_belong_to_it(value: float, expected: str) -> None:
    assert Grouping(SCHEMA.field("angle"), 3).label(value) == expected


def test_tallies_don_t_share_their_counts() -> None:
    first, second = Tally(SCHEMA), Tally(SCHEMA)
    first.add(RECORDS[0])
    assert second.asked["light"] == {"day": 0, "night": 0}
