"""What a dataset's own records say: how many frames of each condition, and how many show what they were asked for.

    found = tally(read_dataset("build/frames"))
    found.all.agreement()                          # Figure(value=0.92, low=0.83, high=0.97, frames=64)
    found.persons["gender"]["female"].agreement()  # the same for one group of people

One pass, whose memory doesn't grow with the dataset. What is measured is what the bundle's annotator read when the
frame was made; a frame that hides a field counts for nothing there. Intervals are of 95 %: Wilson's for shares (1927,
JASA 22), the normal one for mean errors.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from audit.persons import GROUPS, Grouping
from audit.report.figures import to_json
from audit.stats.proportions import NORMAL_975, wilson_interval
from contract.conditions import Schema
from contract.dataset import Dataset, Record
from contract.field import Field, Value

BINS = 10
"""Equal parts of a number's range that frames are counted in."""

NOT_READ = "no annotator has read these frames; generate them from a bundle that has one"
HIDDEN = "no frame shows it"


class Figure(NamedTuple):
    """A measured number with its interval, or null with a reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    frames: int = 0
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Its JSON values."""
        return {key: to_json(value) for key, value in self._asdict().items()}


def share(count: int, of: int) -> Figure:
    """A share with Wilson's interval."""
    if not of:
        return Figure(None, reason=HIDDEN)
    return Figure(count / of, *wilson_interval(count, of), of)


@dataclass
class ErrorSum:
    """Mean of absolute errors, from their sums."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, error: float) -> None:
        self.count += 1
        self.total += error
        self.squares += error * error

    def figure(self) -> Figure:
        if not self.count:
            return Figure(None, reason=HIDDEN)
        mean = self.total / self.count
        variance = max(0.0, self.squares / self.count - mean * mean) * self.count / max(1, self.count - 1)
        half = NORMAL_975 * math.sqrt(variance / self.count)
        return Figure(mean, max(0.0, mean - half), mean + half, self.count)


@dataclass
class Tally:
    """Counts over some of a dataset's records."""

    schema: Schema
    frames: int = 0
    asked: dict[str, Counter[str]] = field(default_factory=dict)
    """How many frames of each value; a number's by the label of its bin."""

    read: int = 0
    """Frames that an annotator read."""

    agreeing: int = 0
    right: Counter[str] = field(default_factory=Counter)
    """By class field: frames that show the value that they were asked for."""

    shown: Counter[str] = field(default_factory=Counter)
    """By class field: frames in which it was read."""

    errors: dict[str, ErrorSum] = field(default_factory=dict)
    """By number."""

    def __post_init__(self) -> None:
        self._groupings = {each.name: Grouping(each, BINS) for each in self.schema.fields}
        self.asked = {name: Counter(dict.fromkeys(found.labels, 0)) for name, found in self._groupings.items()}
        self.errors = {each.name: ErrorSum() for each in self.schema.fields if not each.is_class}

    def add(self, record: Record) -> None:
        self.frames += 1
        for name, grouping in self._groupings.items():
            self.asked[name][grouping.label(record[name])] += 1
        if record.get("measured") is not None:
            self._add_measured(record, record["measured"])

    def agreement(self) -> Figure:
        """The share of frames that show every class as asked for."""
        return share(self.agreeing, self.read) if self.read else Figure(None, reason=NOT_READ)

    def class_agreement(self) -> dict[str, Figure]:
        """The share of frames that show the class asked for, by field."""
        return {each.name: self._checked(share(self.right[each.name], self.shown[each.name])) for each in self._classes}

    def mean_errors(self) -> dict[str, Figure]:
        """Mean absolute error of each number, in its unit."""
        return {name: self._checked(errors.figure()) for name, errors in self.errors.items()}

    @property
    def _classes(self) -> list[Field]:
        return [each for each in self.schema.fields if each.is_class]

    def _checked(self, figure: Figure) -> Figure:
        return figure if self.read else Figure(None, reason=NOT_READ)

    def _add_measured(self, record: Record, measured: Mapping[str, Value | None]) -> None:
        self.read += 1
        self.agreeing += record["agrees"] is True
        for each in self.schema.fields:
            found, asked = measured.get(each.name), record[each.name]
            if found is None:
                continue
            if each.is_class:
                self.shown[each.name] += 1
                self.right[each.name] += found == asked
            else:
                self.errors[each.name].add(abs(float(found) - float(asked)))


@dataclass
class DatasetTally:
    """Counts over all records, and apart for each group of people."""

    all: Tally
    persons: dict[str, dict[str, Tally]]
    """By personal field, by value (or third of its range)."""

    origins: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        schema = self.all.schema
        self._groupings = {name: Grouping(schema.field(name), GROUPS) for name in self.persons}

    def add(self, record: Record) -> None:
        self.origins[str(record.get("origin", "generated"))] += 1
        self.all.add(record)
        for name, groups in self.persons.items():
            groups[self._groupings[name].label(record[name])].add(record)


def tally(dataset: Dataset, records: Iterable[Record] | None = None) -> DatasetTally:
    """Count over all records of a dataset, or those given."""
    schema = dataset.description.schema
    personal = [each for each in schema.fields if each.personal]
    persons = {each.name: {name: Tally(schema) for name in Grouping(each, GROUPS).labels} for each in personal}
    found = DatasetTally(Tally(schema), persons)
    for record in dataset.records() if records is None else records:
        found.add(record)
    return found
