"""A lineage says whom each step learnt from, each data set's drivers once, and loses none of it by going on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.driver_hashes import OTHERS, hash_drivers, lists_drivers, seen_drivers, stated_once, trained_on

PEOPLE = {"day": ["anna", "ben"], "night": ["ben", "carl", "dora"], "rain": ["eve"]}
KEYS = sorted({key for keys in PEOPLE.values() for key in keys} | {"nobody"})


def step(data: str, **others: Any) -> dict[str, Any]:
    return {"data": data, "drivers": hash_drivers(PEOPLE[data], data), **others}


def generations(count: int) -> dict[str, Any]:
    """A student whose every generation went on from the one before and was judged by a critic of the same frames."""
    lineage = step("day")
    for _ in range(count):
        taught = {"drivers": hash_drivers(PEOPLE["night"], "night"), "critic": step("night"), "before": lineage}
        lineage = step("day", before=step("rain"), critic=step("day"), distilled=[taught])
    return lineage


steps = st.recursive(
    st.sampled_from([*(step(name) for name in PEOPLE), {"drivers": None}, {}]),
    lambda inner: st.builds(
        lambda data, name, other: step(data, **{name: [other] if name == "distilled" else other}),
        st.sampled_from(sorted(PEOPLE)),
        st.sampled_from(OTHERS),
        inner,
    ),
    max_leaves=8,
)


@given(steps)
def test_stating_hashes_once_changes_no_answer(lineage: dict[str, Any]) -> None:
    once = stated_once(lineage)
    assert seen_drivers(once, KEYS) == seen_drivers(lineage, KEYS)
    assert lists_drivers(once) == lists_drivers(lineage)
    assert stated_once(once) == once
    assert json.dumps(once).count("hashes") <= len(PEOPLE)


def test_every_generation_adds_no_hashes() -> None:
    few, many = (json.dumps(stated_once(generations(count))) for count in (2, 9))
    assert few.count("hashes") == many.count("hashes") == len(PEOPLE)


def test_what_is_handed_on_refers_to_nothing_of_the_annotator() -> None:
    lineage = stated_once(step("day", annotator=step("night"), distilled=[step("night")]))
    handed_on = {name: said for name, said in lineage.items() if name != "annotator"}
    assert trained_on(handed_on, "carl") and lists_drivers(handed_on)


def test_drivers_of_another_count_under_one_salt_are_kept() -> None:
    fewer = {"data": "day", "drivers": hash_drivers(["anna"], "day")}
    once = stated_once({**fewer, "before": step("day")})
    assert seen_drivers(once, KEYS) == ["anna", "ben"]


@pytest.mark.parametrize("drivers", [{"salt": "elsewhere", "count": 2}, {"salt": ["x"]}, {"salt": "x", "hashes": 3}, 7])
def test_a_reference_to_nothing_is_no_answer(drivers: Any) -> None:
    lineage = step("day", before={"drivers": drivers})
    assert not lists_drivers(lineage)
    assert trained_on(lineage, "anna") is True and trained_on(lineage, "carl") is None
