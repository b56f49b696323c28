"""A condition schema is data: fields, their values, how they are encoded, where open fields come from.

Checkpoints and bundles carry their schema as JSON; code that reads one never names a field.
`contract.schemas` holds the two that the project itself defines.

    schema = contract.schemas.CABIN
    condition = schema.complete({"fatigue_level": "severe"}, np.random.default_rng(0))
    vector = schema.encode([condition])          # float32 [1, schema.width]
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.errors import Refused, UsageError

LARGEST = 1e6
"""Bound of every number in a schema: more is damage, and would overflow where it is encoded as float32."""

ROLES = (
    "fatigue",
    "eye_openness",
    "mouth_openness",
    "gaze_yaw",
    "gaze_pitch",
    "head_yaw",
    "head_pitch",
)
"""What a field can be to code that names none: one field at the most has each role."""

Value = str | float
Condition = dict[str, Value]
Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class OcclusionRule:
    """One reason why a frame doesn't show a field: another field has one of `values`, or lies below `below`."""

    field: str
    values: tuple[str, ...] = ()
    below: float | None = None

    def applies(self, condition: Mapping[str, Value]) -> bool:
        value = condition.get(self.field)
        if isinstance(value, str):
            return value in self.values
        return value is not None and self.below is not None and value < self.below


@dataclass(frozen=True)
class Field:
    """One thing that a frame is conditioned on: a class (codes) or a number (a range)."""

    name: str
    offset: int
    """First of the slots in the condition vector that this field fills."""

    values: tuple[str, ...] = ()
    """Names of the classes, in order; empty for a number."""

    codes: tuple[tuple[float, ...], ...] = ()
    """What each class writes into the slots, one row a value."""

    ordered: bool = False
    """Whether the classes lie on a scale, so that a neighbour is a smaller error than the far end."""

    low: float = 0.0
    high: float = 1.0
    """Range of a number in `unit`; encoded linearly onto [-1, 1] in one slot."""

    unit: str = ""

    weights: tuple[float, ...] = ()
    """How often an open class field takes each value; empty means equally often."""

    prior: tuple[tuple[float, float], ...] = ()
    """The band that an open number is drawn from uniformly, one for each value of `given`
    (a single band where nothing is given; empty means the whole range)."""

    given: str | None = None
    """Name of the class field that the prior of a number follows."""

    hidden: tuple[OcclusionRule, ...] = ()
    """What hides this field in a frame; a hidden field is never measured and never scored."""

    role: str = ""
    """What the field is to code that knows drivers and not this schema (clips, blinks): one of ROLES, or nothing."""

    mirrored: bool = False
    """Whether the number changes its sign when a frame is mirrored."""

    personal: bool = False
    """Whether it belongs to the person and not to the moment; figures are told by these fields, too."""

    @property
    def is_class(self) -> bool:
        return bool(self.values)

    @property
    def width(self) -> int:
        """How many slots of the vector the field fills."""
        return len(self.codes[0]) if self.is_class else 1

    @property
    def slots(self) -> slice:
        return slice(self.offset, self.offset + self.width)

    @property
    def encoding(self) -> tuple[object, ...]:
        """What decides how a value is encoded."""
        return self.name, self.offset, self.values, self.codes, self.low, self.high

    @cached_property
    def _edges(self) -> list[float]:
        """Where the share of one value ends and that of the next begins; kept, since every frame asks for it."""
        weights = np.asarray(self.weights or [1.0] * len(self.values))
        edges: list[float] = np.cumsum(weights / weights.sum()).tolist()
        return edges

    def expects(self) -> str:
        """What a value must be, for error messages."""
        if self.is_class:
            return "one of " + ", ".join(self.values)
        unit = f" {self.unit}" if self.unit else ""
        return f"a number from {self.low:g} to {self.high:g}{unit}"

    def check(self, value: object) -> Value:
        """Return the value in its own type, or raise UsageError naming what was expected."""
        if self.is_class:
            if isinstance(value, str) and value in self.values:
                return value
        elif not isinstance(value, (bool, np.bool_)):
            try:
                number = float(value)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                number = math.nan
            if self.low <= number <= self.high:
                return number
        raise UsageError(f"{self.name}={value}: expected {self.expects()}")

    def encode(self, value: Value) -> tuple[float, ...]:
        if self.is_class:
            return self.codes[self.values.index(str(value))]
        return (2.0 * (float(value) - self.low) / (self.high - self.low) - 1.0,)

    def decode(self, slots: npt.NDArray[np.floating[Any]]) -> Value:
        """The nearest class, or the number clamped to its range."""
        if self.is_class:
            distance = ((np.asarray(self.codes) - slots) ** 2).sum(axis=1)
            return self.values[int(distance.argmin())]
        share = float(np.clip((slots[0] + 1.0) / 2.0, 0.0, 1.0))
        return self.low + share * (self.high - self.low)

    def draw(self, condition: Mapping[str, Value], uniform: float, parents: Mapping[str, Field]) -> Value:
        """A value from the prior; `uniform` in [0, 1) is the only randomness."""
        if self.is_class:
            return self.values[min(bisect.bisect_right(self._edges, uniform), len(self.values) - 1)]
        row = parents[self.given].values.index(str(condition[self.given])) if self.given else 0
        low, high = self.prior[row] if self.prior else (self.low, self.high)
        return low + uniform * (high - low)


@dataclass(frozen=True)
class Schema:
    """Named fields and the width of the vector that they are encoded into."""

    name: str
    width: int
    fields: tuple[Field, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    @cached_property
    def _parents_first(self) -> list[Field]:
        return sorted(self.fields, key=lambda field: field.given is not None)

    def encodes_like(self, other: Schema) -> bool:
        """Whether both schemas give every condition the same vector, whatever else they say of their fields."""
        return self.width == other.width and [f.encoding for f in self.fields] == [f.encoding for f in other.fields]

    def with_role(self, role: str) -> Field | None:
        """The field of that role, None where the schema has none."""
        return next((field for field in self.fields if field.role == role), None)

    def field(self, name: str) -> Field:
        """The field of that name, or UsageError listing the ones there are."""
        if name in self.by_name:
            return self.by_name[name]
        raise UsageError(f"{name}: no field of the schema {self.name!r}; it has {', '.join(self.names)}")

    def check(self, condition: Mapping[str, object]) -> Condition:
        """A (partial) condition with every name and value checked, in the schema's order."""
        checked = {name: self.field(name).check(value) for name, value in condition.items()}
        return {name: checked[name] for name in self.names if name in checked}

    def parse(self, pairs: Sequence[str]) -> Condition:
        """`["lighting=night", "gaze_yaw=-20"]` as a partial condition; a repeated field is refused."""
        found: dict[str, object] = {}
        for pair in pairs:
            name, equals, text = pair.partition("=")
            if not equals:
                raise UsageError(f"{pair}: expected field=value, the fields being {', '.join(self.names)}")
            if name in found:
                raise UsageError(f"{name}: set twice")
            found[name] = text
        return self.check(found)

    def encode(self, conditions: Sequence[Mapping[str, Value]]) -> Array:
        """Complete conditions as float32 [N, width]; slots that no field fills are 0."""
        vectors = np.zeros((len(conditions), self.width), dtype=np.float32)
        for row, condition in zip(vectors, conditions, strict=True):
            missing = [name for name in self.names if name not in condition]
            if missing:
                raise UsageError(f"condition without {', '.join(missing)}; complete it first")
            for field in self.fields:
                row[field.slots] = field.encode(condition[field.name])
        return vectors

    def decode(self, vectors: npt.NDArray[np.floating[Any]]) -> list[Condition]:
        """Vectors [N, width] back to conditions: nearest class, clamped number."""
        vectors = np.asarray(vectors, dtype=np.float64)
        if vectors.ndim != 2 or vectors.shape[1] != self.width:
            raise UsageError(f"vectors of shape {vectors.shape}; the schema {self.name!r} has [N, {self.width}]")
        return [{field.name: field.decode(row[field.slots]) for field in self.fields} for row in vectors]

    def complete(self, condition: Mapping[str, object], generator: np.random.Generator) -> Condition:
        """Fill the open fields from the prior.

        One uniform number is drawn for every field, set or not, so that setting one field leaves the
        draw of the others as it was (unless their prior follows it).
        """
        given = self.check(condition)
        uniforms = dict(zip(self.names, generator.random(len(self.fields)).tolist(), strict=True))
        drawn: Condition = dict(given)
        for field in self._parents_first:
            if field.name not in drawn:
                drawn[field.name] = field.draw(drawn, uniforms[field.name], self.by_name)
        return {name: drawn[name] for name in self.names}

    def hidden(self, condition: Mapping[str, Value]) -> tuple[str, ...]:
        """Names of the fields that a frame of this condition doesn't show."""
        return tuple(f.name for f in self.fields if any(rule.applies(condition) for rule in f.hidden))

    def grid(self, names: Sequence[str]) -> Iterator[Condition]:
        """Every combination of the named class fields, the last name fastest, as partial conditions."""
        fields = [self.field(name) for name in names]
        if len(set(names)) != len(names):
            raise UsageError(f"{','.join(names)}: a field stands twice in the grid")
        for field in fields:
            if not field.is_class:
                raise UsageError(f"{field.name}: a number has no grid; set it, or leave it open")
        for cell in itertools.product(*(field.values for field in fields)):
            yield dict(zip(names, cell, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """The schema as JSON values; `from_dict` gives it back."""
        return {"name": self.name, "width": self.width, "fields": [_field_to_dict(f) for f in self.fields]}

    @staticmethod
    def from_dict(data: object) -> Schema:
        """Read a schema out of a checkpoint or manifest; anything unexpected raises Refused."""
        try:
            schema = _schema_from_dict(data)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise Refused(f"condition schema: {error or type(error).__name__}; export the bundle again") from error
        return schema


def _field_to_dict(field: Field) -> dict[str, Any]:
    common: dict[str, Any] = {"name": field.name, "offset": field.offset}
    if field.is_class:
        common |= {"values": list(field.values), "codes": [list(code) for code in field.codes]}
        common |= {"ordered": field.ordered, "weights": list(field.weights) or None}
    else:
        common |= {"low": field.low, "high": field.high, "unit": field.unit}
        common |= {"prior": [list(band) for band in field.prior] or None, "given": field.given}
    rules = [{"field": r.field, "values": list(r.values), "below": r.below} for r in field.hidden]
    meaning = {"role": field.role, "mirrored": field.mirrored, "personal": field.personal}
    return common | {"hidden": rules} | {key: value for key, value in meaning.items() if value}


def _schema_from_dict(data: Any) -> Schema:
    _known(data, {"name", "width", "fields"}, "schema")
    if not isinstance(data["name"], str) or type(data["width"]) is not int or not 0 < data["width"] <= 4096:
        raise ValueError("expected a name and a width from 1 to 4096")
    schema = Schema(data["name"], data["width"], tuple(_field_from_dict(item) for item in data["fields"]))
    names = schema.names
    if not names or len(set(names)) != len(names):
        raise ValueError("expected fields with distinct names")
    taken = [slot for field in schema.fields for slot in range(field.offset, field.offset + field.width)]
    if len(set(taken)) != len(taken) or min(taken) < 0 or max(taken) >= schema.width:
        raise ValueError(f"fields overlap or leave the {schema.width} slots")
    for field in schema.fields:
        parent = schema.field(field.given) if field.given else None
        if parent is not None and (not parent.is_class or len(field.prior) != len(parent.values)):
            raise ValueError(f"{field.name}: expected a prior band for each value of {parent.name}")
        for rule in field.hidden:
            schema.field(rule.field)
    return schema


def _field_from_dict(data: Any) -> Field:
    is_class = "values" in data
    own = {"values", "codes", "ordered", "weights"} if is_class else {"low", "high", "unit", "prior", "given"}
    meaning = {key: data.pop(key) for key in ("role", "mirrored", "personal") if key in (data := dict(data))}
    _known(data, {"name", "offset", "hidden"} | own, "field")
    if meaning.get("role", "") not in ("", *ROLES):
        raise ValueError(f"{data['name']}: role {meaning['role']!r}; expected one of {', '.join(ROLES)}")
    if any(type(meaning.get(key, False)) is not bool for key in ("mirrored", "personal")):
        raise ValueError(f"{data['name']}: expected mirrored and personal as true or false")
    if not isinstance(data["name"], str) or type(data["offset"]) is not int:
        raise ValueError("expected a field name and an offset")
    name, offset = data["name"], data["offset"]
    hidden = tuple(_hidden_from_dict(rule) for rule in data["hidden"])
    if is_class:
        values, codes = tuple(data["values"]), tuple(_numbers(code) for code in data["codes"])
        weights = _numbers(data["weights"] or [])
        if not values or not all(isinstance(v, str) for v in values) or len(set(values)) != len(values):
            raise ValueError(f"{name}: expected distinct values")
        if len(codes) != len(values) or not codes[0] or len({len(code) for code in codes}) != 1:
            raise ValueError(f"{name}: expected one code a value, all of one width")
        if weights and (len(weights) != len(values) or min(weights) < 0 or sum(weights) <= 0):
            raise ValueError(f"{name}: expected one weight a value")
        return Field(name, offset, values, codes, bool(data["ordered"]), weights=weights, hidden=hidden, **meaning)
    low, high = _numbers([data["low"], data["high"]])
    bands = tuple(_numbers(band) for band in data["prior"] or [])
    if not low < high or any(len(band) != 2 or not low <= band[0] <= band[1] <= high for band in bands):
        raise ValueError(f"{name}: expected low < high and prior bands between them")
    if not isinstance(data["unit"], str) or not isinstance(data["given"], (str, type(None))):
        raise ValueError(f"{name}: expected a unit, and a field name or null under 'given'")
    prior = tuple((band[0], band[1]) for band in bands)
    common: dict[str, Any] = {
        "low": low,
        "high": high,
        "unit": data["unit"],
        "prior": prior,
        "given": data["given"],
        "hidden": hidden,
    }
    return Field(name, offset, **common, **meaning)


def _hidden_from_dict(data: Any) -> OcclusionRule:
    _known(data, {"field", "values", "below"}, "hidden rule")
    below = None if data["below"] is None else _numbers([data["below"]])[0]
    return OcclusionRule(str(data["field"]), tuple(str(value) for value in data["values"]), below)


def _known(data: Any, keys: set[str], what: str) -> None:
    if not isinstance(data, dict) or set(data) != keys:
        found = ", ".join(map(str, sorted(data, key=str)))[:200] if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"{what} with {found}; expected {', '.join(sorted(keys))}")


def _numbers(values: Any) -> tuple[float, ...]:
    if not all(type(value) in (int, float) and abs(value) <= LARGEST for value in values):
        raise ValueError(f"expected numbers up to {LARGEST:g}")
    return tuple(float(value) for value in values)
