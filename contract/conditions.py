"""A condition schema is data: fields, their values, how they are encoded, where open fields come from.

Checkpoints and bundles carry their schema as JSON; code that reads one never names a field.
`contract.schemas` holds the two that the project itself defines.

    schema = contract.schemas.CABIN
    condition = schema.complete({"fatigue_level": "severe"}, np.random.default_rng(0))
    vector = schema.encode([condition])          # float32 [1, schema.width]
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.errors import UsageError
from contract.field import Condition, Field, Value
from contract.limits import ConditionWidth
from contract.record import Record

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Schema(Record):
    """Named fields and the width of the vector that they are encoded into."""

    WHAT = "condition schema"

    name: str
    width: ConditionWidth
    fields: tuple[Field, ...]
    """None for a network that reads no condition; its vectors are zeros."""

    def __post_init__(self) -> None:
        if len(self.by_name) != len(self.fields):
            raise ValueError("expected fields with distinct names")
        taken = [slot for field in self.fields for slot in range(field.offset, field.offset + field.width)]
        if len(set(taken)) != len(taken) or max(taken, default=0) >= self.width:
            raise ValueError(f"fields overlap or leave the {self.width} slots")
        for field in self.fields:
            parent = self.field(field.given) if field.given else None
            prior = field.given_weights if field.is_class else field.prior
            if parent is not None and (not parent.is_class or len(prior) != len(parent.values)):
                raise ValueError(f"{field.name}: expected weights or a prior band for each value of {parent.name}")
            if parent is not None and parent.given:
                raise ValueError(f"{field.name}: its prior follows {parent.name}, whose own follows {parent.given}")
            for rule in field.hidden:
                self.field(rule.field)
        roles = [field.role for field in self.fields if field.role]
        if len(set(roles)) != len(roles):
            raise ValueError("expected at most one field for each role")

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
        return {"name": self.name, "width": self.width, "fields": [field.to_dict() for field in self.fields]}

    @classmethod
    def from_dict(cls, data: object) -> Schema:
        """Read a schema out of a file; Refused for anything unexpected. In a field, null is the same as nothing."""
        if isinstance(data, Mapping) and isinstance(data.get("fields"), (list, tuple)):
            data = {**data, "fields": [_without_nulls(field) for field in data["fields"]]}
        return super().from_dict(data)


UNCONDITIONAL = Schema("unconditional", 1, ())
"""Of networks that read no condition."""


def _without_nulls(field: object) -> object:
    return {k: v for k, v in field.items() if v is not None} if isinstance(field, Mapping) else field
