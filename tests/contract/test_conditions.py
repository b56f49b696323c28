"""Properties of condition schemas that hold for every condition, and what a damaged schema comes to."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.conditions import Schema
from contract.errors import Refused, UsageError
from contract.field import ROLES, Condition, Field, OcclusionRule
from contract.noise import open_fields
from contract.schemas import CABIN, DOCUMENT, SCHEMAS

FLOAT32_ROUNDING = 1e-6
"""Vectors are float32, whose relative spacing is 6e-8; a decoded number may move by that share of its range."""

schemas = pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)


def values_of(field: Field) -> st.SearchStrategy[Any]:
    return st.sampled_from(field.values) if field.is_class else st.floats(field.low, field.high)


def conditions_of(schema: Schema, partial: bool = False) -> st.SearchStrategy[Condition]:
    fields = {field.name: values_of(field) for field in schema.fields}
    return st.fixed_dictionaries({}, optional=fields) if partial else st.fixed_dictionaries(fields)


@schemas
@given(data=st.data())
def test_decode_gives_back_what_encode_took(schema: Schema, data: st.DataObject) -> None:
    condition = data.draw(conditions_of(schema))
    decoded = schema.decode(schema.encode([condition]))[0]
    for field in schema.fields:
        if field.is_class:
            assert decoded[field.name] == condition[field.name]
        else:
            moved = abs(float(decoded[field.name]) - float(condition[field.name]))
            assert moved <= FLOAT32_ROUNDING * (field.high - field.low)


@schemas
@given(data=st.data())
def test_encoded_numbers_stay_in_their_slots_and_range(schema: Schema, data: st.DataObject) -> None:
    vector = schema.encode([data.draw(conditions_of(schema))])
    assert vector.dtype == np.float32 and vector.shape == (1, schema.width)
    assert np.abs(vector).max() <= 1.0
    filled = {slot for field in schema.fields for slot in range(schema.width)[field.slots]}
    assert all(vector[0, slot] == 0 for slot in set(range(schema.width)) - filled)


def test_the_document_encodes_as_its_ten_numbers() -> None:
    condition = {
        "fatigue_level": "moderate",
        "distraction_type": "eating",
        "lighting": "backlight",
        "accessory": "mask",
    }
    expected = np.array([[0.6, 0.5, 0.8, 0.2, 1, 0, 0, 0, 0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(DOCUMENT.encode([condition]), expected)


@schemas
@given(seed=st.integers(0, 2**32), data=st.data())
def test_open_fields_are_drawn_from_their_bands_and_set_ones_are_kept(
    schema: Schema, seed: int, data: st.DataObject
) -> None:
    wanted = data.draw(conditions_of(schema, partial=True))
    drawn = schema.complete(wanted, np.random.default_rng(seed))
    assert tuple(drawn) == schema.names
    assert drawn | wanted == drawn
    for field in schema.fields:
        if field.name not in wanted and field.prior:
            row = schema.field(field.given).values.index(str(drawn[field.given])) if field.given else 0
            low, high = field.prior[row]
            assert low <= float(drawn[field.name]) <= high


@given(seed=st.integers(0, 2**32), level=st.sampled_from(CABIN.field("fatigue_level").values))
def test_setting_a_field_moves_no_other_draw_but_those_that_follow_it(seed: int, level: str) -> None:
    free = CABIN.complete({}, np.random.default_rng(seed))
    bound = CABIN.complete({"fatigue_level": level}, np.random.default_rng(seed))
    followers = {field.name for field in CABIN.fields if field.given == "fatigue_level"} | {"fatigue_level"}
    assert followers == {"fatigue_level", "eye_openness", "mouth_openness"}
    assert {name for name in CABIN.names if free[name] != bound[name]} <= followers


def test_the_open_fields_of_a_seed_stay() -> None:
    """Which uniform number goes to which field, and how it becomes a value: old seeds must ask for the same frames."""
    assert CABIN.complete({}, open_fields(7, 0)) == {
        "sensor": "rgb",
        "fatigue_level": "moderate",
        "distraction_type": "other",
        "lighting": "tunnel",
        "accessory": "mask",
        "gender": "male",
        "age_group": "senior",
        "headwear": "hat",
        "eye_openness": 0.2888168760522818,
        "mouth_openness": 0.5791664040348506,
        "gaze_yaw": -11.353804106687965,
        "gaze_pitch": -7.052893164774896,
        "head_yaw": 7.86012678710604,
        "head_pitch": 5.512811042515779,
        "skin_tone": 0.2985215951691448,
    }


def test_open_classes_come_as_often_as_their_weights_say() -> None:
    generator = np.random.default_rng(0)
    hats = sum(CABIN.complete({}, generator)["headwear"] == "hat" for _ in range(4000))
    assert abs(hats / 4000 - 0.2) < 0.03  # five standard deviations of a 4000-fold draw


def _lamp_and_sensor(**sensor: Any) -> Schema:
    light = Field("light", 0, ("day", "night"), ((1.0,), (-1.0,)))
    return Schema("lamps", 2, (Field("sensor", 1, ("rgb", "nir"), ((1.0,), (-1.0,)), **sensor), light))


def test_a_class_can_follow_another() -> None:
    schema = _lamp_and_sensor(given="light", given_weights=((0.6, 0.4), (0.0, 1.0)))
    drawn = [schema.complete({}, np.random.default_rng(seed)) for seed in range(2000)]
    by_day = [condition["sensor"] for condition in drawn if condition["light"] == "day"]
    assert {condition["sensor"] for condition in drawn if condition["light"] == "night"} == {"nir"}
    assert abs(by_day.count("nir") / len(by_day) - 0.4) < 0.08  # five standard deviations of a 1000-fold draw
    assert schema.complete({"sensor": "rgb", "light": "night"}, np.random.default_rng(0))["sensor"] == "rgb"


@pytest.mark.parametrize(
    "sensor",
    [
        {"given": "light"},
        {"given_weights": ((1.0, 0.0),)},
        {"given": "light", "given_weights": ((0.6, 0.4),)},
        {"given": "light", "given_weights": ((0.6, 0.4), (1.0,))},
        {"given": "light", "given_weights": ((0.6, 0.4), (0.0, 0.0))},
        {"given": "light", "given_weights": ((0.6, 0.4), (0.0, 1.0)), "weights": (0.5, 0.5)},
        {"given": "sensor", "given_weights": ((0.6, 0.4), (0.0, 1.0))},
    ],
)
def test_a_class_that_follows_needs_a_row_of_weights_for_each_value(sensor: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^sensor: (expected|its prior follows)"):
        _lamp_and_sensor(**sensor)


@given(names=st.lists(st.sampled_from([f.name for f in CABIN.fields if f.is_class]), unique=True, max_size=4))
@settings(max_examples=30)
def test_a_grid_has_every_combination_once_the_last_field_fastest(names: list[str]) -> None:
    cells = [tuple(cell.values()) for cell in CABIN.grid(names)]
    assert len(cells) == len(set(cells)) == math.prod(len(CABIN.field(name).values) for name in names)
    positions = [tuple(CABIN.field(n).values.index(str(v)) for n, v in zip(names, cell, strict=True)) for cell in cells]
    assert positions == sorted(positions)


@schemas
def test_a_schema_survives_json(schema: Schema) -> None:
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


@st.composite
def any_schema(draw: st.DrawFn) -> Schema:
    """Schemas of up to five fields with gaps between their slots, priors, weights, rules, roles and attributes."""
    names = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5, unique=True))
    roles = draw(st.permutations([*ROLES, *[""] * len(names)]))
    numbers = st.floats(-1e6, 1e6)
    fields: list[Field] = []
    offset = 0
    for name, role in zip(names, roles, strict=False):
        offset += draw(st.integers(0, 2))
        meaning: dict[str, Any] = {"role": role, "personal": draw(st.booleans()), "mirrored": draw(st.booleans())}
        parents = [field for field in fields if field.is_class and not field.given]
        if fields:
            other = draw(st.sampled_from(fields))
            meaning["hidden"] = (OcclusionRule(other.name, other.values[:1], None if other.is_class else 0.5),)
        if draw(st.booleans()):
            values = tuple(draw(st.lists(st.text(max_size=4), min_size=1, max_size=4, unique=True)))
            codes = draw(st.lists(st.tuples(numbers, numbers), min_size=len(values), max_size=len(values)))
            weights = tuple(float(i + 1) for i in range(len(values)))
            parent = draw(st.sampled_from([None, *parents]))
            if parent:
                meaning |= {"given": parent.name, "given_weights": (weights,) * len(parent.values)}
            else:
                meaning["weights"] = draw(st.sampled_from([(), weights]))
            fields.append(Field(name, offset, values, tuple(codes), draw(st.booleans()), **meaning))
        else:
            low, high = sorted(draw(st.lists(numbers, min_size=2, max_size=2, unique=True)))
            if meaning["mirrored"]:
                high = max(abs(low), abs(high))
                low = -high
            given = draw(st.sampled_from(parents)) if parents else None
            prior = ((low, high),) * len(given.values) if given else ()
            name_of_given = given.name if given else None
            fields.append(
                Field(name, offset, low=low, high=high, unit="m", prior=prior, given=name_of_given, **meaning)
            )
        offset += fields[-1].width
    return Schema(draw(st.text(max_size=5)), offset + draw(st.integers(0, 2)), tuple(fields))


@given(schema=any_schema())
@settings(max_examples=100)
def test_any_schema_survives_json(schema: Schema) -> None:
    read = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert read == schema and read.to_dict() == schema.to_dict()
    assert read.encodes_like(schema)


@given(schema=any_schema(), seed=st.integers(0, 2**32))
@settings(max_examples=100)
def test_any_schema_draws_what_it_can_encode(schema: Schema, seed: int) -> None:
    condition = schema.complete({}, np.random.default_rng(seed))
    assert schema.check(condition) == condition
    vector = schema.encode([condition])
    for field in schema.fields:
        np.testing.assert_array_equal(vector[0, field.slots], np.float32(field.encode(condition[field.name])))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ((Field("a", 0, role="gaze_yaw"), Field("b", 1, role="gaze_yaw")), "one field for each role"),
        ((Field("a", 0), Field("b", 0)), "overlap"),
        ((Field("a", 0), Field("a", 1)), "distinct names"),
        ((Field("a", 9),), "leave the 2 slots"),
        ((Field("a", 0, hidden=(OcclusionRule("c"),)),), "c: no field"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(fields: tuple[Field, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Schema("s", 2, fields)


@schemas
@pytest.mark.parametrize(
    "pair", ["", "colour=red", "lighting", "lighting=", "lighting=dawn", "accessory=1", "=day", "lighting=Day"]
)
def test_a_wrong_pair_is_a_usage_error_that_lists_what_is_valid(schema: Schema, pair: str) -> None:
    with pytest.raises(UsageError, match=r"day|fatigue_level|glasses"):
        schema.parse([pair])


@pytest.mark.parametrize("text", ["1.01", "-0.01", "nan", "inf", "", "wide", "1e999"])
def test_a_number_out_of_range_names_its_range(text: str) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        CABIN.parse([f"eye_openness={text}"])


def test_what_sunglasses_and_a_mask_hide() -> None:
    base = CABIN.complete({"sensor": "rgb", "accessory": "none", "distraction_type": "none"}, np.random.default_rng(0))
    base["eye_openness"] = 0.9
    assert CABIN.hidden(base) == ()
    dark = ("fatigue_level", "eye_openness", "gaze_yaw", "gaze_pitch")
    assert CABIN.hidden(base | {"accessory": "sunglasses"}) == dark
    assert CABIN.hidden(base | {"accessory": "mask"}) == ("mouth_openness",)
    assert CABIN.hidden(base | {"eye_openness": 0.1}) == ("gaze_yaw", "gaze_pitch")
    assert CABIN.hidden(base | {"sensor": "nir"}) == ("lighting", "skin_tone")


ABSURD: list[Any] = [
    None,
    True,
    -1,
    0,
    4097,
    10**400,
    1e308,
    math.nan,
    math.inf,
    "",
    "x",
    "none",
    [],
    {},
    [[]],
    [1, "a"],
    {"a": 1},
]


def nodes(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON tree."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path] * bool(path) + [found for key, value in items for found in nodes(value, (*path, key))]


@schemas
@given(data=st.data())
@settings(max_examples=300)
def test_an_absurd_schema_is_refused_or_still_works(schema: Schema, data: st.DataObject) -> None:
    mutated = copy.deepcopy(schema.to_dict())
    *parents, last = data.draw(st.sampled_from(nodes(mutated)))
    place: Any = mutated
    for key in parents:
        place = place[key]
    if data.draw(st.booleans()):
        del place[last]
    else:
        place[last] = data.draw(st.sampled_from(ABSURD))
    try:
        read = Schema.from_dict(mutated)
    except Refused as error:
        assert "\n" not in str(error)
        return
    condition = read.complete({}, np.random.default_rng(0))
    assert read.encode([condition]).shape == (1, read.width)
    assert Schema.from_dict(json.loads(json.dumps(read.to_dict()))) == read


def test_a_number_beyond_every_float_is_refused() -> None:
    with pytest.raises(UsageError, match="expected a number from"):
        CABIN.field("eye_openness").check(10**400)


def test_a_mirrored_number_has_a_range_around_zero() -> None:
    with pytest.raises(ValueError, match="expected a range around 0"):
        Field("turn", 0, low=-60.0, high=20.0, mirrored=True)
