"""What the labels of a data set mean on a schema, as data: a table of columns, their values and the fields these set.

    mapping = LabelMapping.from_dict(read_json(Path("mapping.json")))
    Meaning(mapping, CABIN).labels({"behaviour": "texting"}, where="a.jpg")      # {"distraction_type": "phone"}

A value that stands in no table stays what it is: no label is guessed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from contract.conditions import Schema
from contract.errors import Refused, UsageError
from contract.field import Condition, Value
from contract.record import Record


@dataclass(frozen=True)
class Column(Record):
    """One column of labels: either `values`, or the `field` that its numbers give."""

    WHAT = "column of a label mapping"
    OPTIONAL: ClassVar[frozenset[str]] = frozenset({"values", "field", "factor", "offset"})

    values: dict[str, dict[str, Value]] = dataclasses.field(default_factory=dict)
    """For each value that means something: the fields that it sets."""

    field: str = ""
    """The number field that the column's numbers are, times `factor` plus `offset`."""

    factor: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.field):
            raise ValueError("expected either values or a field")


@dataclass(frozen=True)
class LabelMapping(Record):
    """Columns of a data set and what they mean; the names of the special columns are for tables of people's own."""

    WHAT = "label mapping"
    OPTIONAL: ClassVar[frozenset[str]] = frozenset({"image", "driver", "split", "clip"})

    columns: dict[str, Column]

    image: str = "file_name"
    driver: str = "driver"
    split: str = ""
    clip: tuple[str, ...] = ()
    """Columns that hold for a whole clip and not for each frame; never mapped."""


class Meaning:
    """A mapping on one schema."""

    def __init__(self, mapping: LabelMapping, schema: Schema, strict: bool = False) -> None:
        """Fields that the schema lacks are left out, with `strict` a UsageError, which wrong values always are."""
        self.schema, self.columns = schema, mapping.columns
        self._values: dict[tuple[str, str], dict[str, Value]] = {}
        for name, column in mapping.columns.items():
            if column.field and (strict or column.field in schema.by_name) and schema.field(column.field).is_class:
                raise UsageError(f"{name}: {column.field} has classes; map the values of the column instead")
            for text, sets in column.values.items():
                known = {n: schema.field(n).check(v) for n, v in sets.items() if strict or n in schema.by_name}
                self._values[name, text] = known

    def of(self, name: str, text: str) -> dict[str, Value]:
        """The fields that one label sets; none for a label without a meaning on the schema, or out of range."""
        column = self.columns.get(name)
        if column is None or not column.field:
            return self._values.get((name, text), {})
        try:
            number = float(text) * column.factor + column.offset
        except ValueError:
            return {}
        target = self.schema.by_name.get(column.field)
        fits = target is not None and math.isfinite(number) and target.low <= number <= target.high
        return {column.field: number} if fits else {}

    def labels(self, raw: Mapping[str, str], where: str) -> Condition:
        """The fields that labels set; Refused, naming `where`, where two of them contradict each other."""
        found: Condition = {}
        for name, text in raw.items():
            for target, value in self.of(name, text).items():
                if found.setdefault(target, value) != value:
                    raise Refused(f"{where}: {target} is {found[target]} and, by {name}={text}, {value}; correct one")
        return found
