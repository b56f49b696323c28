"""Records: what is stored comes back, and every fault is one line that says where, what and what was expected."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from msgspec import Meta

from contract.errors import Refused
from contract.record import SHOWN, Record, convert, one_of, short


@dataclass(frozen=True)
class Inner(Record):
    WHAT = "inner"

    count: Annotated[int, Meta(ge=1, le=9)]
    kind: Annotated[str, one_of("a", "b")] = "a"


@dataclass(frozen=True)
class Outer(Record):
    WHAT = "outer"
    OPTIONAL = frozenset({"notes"})

    inner: Inner
    sizes: tuple[Annotated[float, Meta(ge=0.0)], ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.sizes) == self.inner.count:
            raise ValueError("as many sizes as counted")


def test_a_record_survives_json() -> None:
    outer = Outer(Inner(2, "b"), (0.5, 1 / 3, 7.0), {"a": [1, {"b": None}]})
    assert Outer.from_dict(json.loads(json.dumps(outer.to_dict()))) == outer
    assert Outer.from_dict(Outer.from_dict(outer.to_dict()).to_dict()) == outer


def test_what_a_file_may_leave_out_is_written_all_the_same() -> None:
    read = Outer.from_dict({"inner": {"count": 3}, "sizes": []})
    assert read == Outer(Inner(3))
    assert read.to_dict() == {"inner": {"count": 3, "kind": "a"}, "sizes": [], "notes": {}}


GOOD: dict[str, Any] = {"inner": {"count": 3, "kind": "a"}, "sizes": [1, 2.5]}


@pytest.mark.parametrize("change, says", [
    ({"inner": {"count": 0}}, "outer: inner.count 0; expected int >= 1"),
    ({"inner": {"count": True}}, "outer: inner.count True; expected int, got bool"),
    ({"inner": {"count": 3.0}}, "outer: inner.count 3.0; expected int, got float"),
    ({"inner": {"count": 3, "kind": "c"}}, "outer: inner.kind 'c'; expected one of a, b"),
    ({"inner": {"count": 3, "kind": "a\n"}}, "outer: inner.kind 'a\\n'; expected one of a, b"),
    ({"inner": {"count": 3, "extra": 1}}, "outer: inner.'extra' is an unknown key; expected count"),
    ({"inner": 3}, "outer: inner 3; expected object, got int"),
    ({"inner": {}}, "outer: inner; object missing required field count"),
    ({"sizes": [1, -1]}, "outer: sizes[1] -1; expected float >= 0.0"),
    ({"sizes": [math.nan]}, "outer: sizes[0] nan; expected float >= 0.0"),
    ({"sizes": [1, 2, 3]}, "outer: as many sizes as counted"),
    ({"sizes": [10**400]}, "outer: sizes[0] 1000"),
    ({"notes": {"a": [math.inf]}}, "outer: notes.a inf; expected a finite number"),
    ({"notes": {"a": "\ud800"}, "more": 1}, "outer: 'more' is an unknown key"),
    ({1: 2}, "expected"),
])  # fmt: skip
def test_faults_are_named(change: dict[Any, Any], says: str) -> None:
    with pytest.raises(Refused) as refusal:
        Outer.from_dict(GOOD | change)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_default_in_python_is_not_one_in_a_file() -> None:
    with pytest.raises(Refused, match="outer: without sizes; expected inner, sizes, notes"):
        Outer.from_dict({"inner": {"count": 3}})


@pytest.mark.parametrize("data", [None, 3, [], "x", [1, 2]])
def test_what_is_no_object_is_refused(data: object) -> None:
    with pytest.raises(Refused, match=r"outer: .*expected object, got"):
        Outer.from_dict(data)
    with pytest.raises(Refused, match=r"figures: .*expected object, got"):
        convert(data, dict[str, Any], "figures")


def test_types_survive_a_garbage_collection() -> None:
    """msgspec 0.22 crashes there on some unions; every record of the software is read in this process by now."""
    from models.annotator import AnnotatorConfig
    from models.edge import EdgeConfig

    for config in (EdgeConfig(5, size=(32, 64)), AnnotatorConfig(size=(32, 64))):
        assert type(config).from_dict(config.to_dict()) == config
    gc.collect()


def test_what_is_quoted_stays_short() -> None:
    nested: list[Any] = ["deep"]
    for _ in range(40):
        nested = [nested] * 9  # as a file of a kilobyte can say: 9 to the 40th strings
    assert len(short(nested)) <= SHOWN
    assert short("a  word") == "'a word'" and len(short("x" * 10_000)) == SHOWN
