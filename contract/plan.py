"""Which condition each frame of a run is asked for: cells, each with what it sets and how many frames it gets.

    plan = Plan(schema, [Cell({"gender": "female"}, ("lighting", "accessory"), each=2)])
    plan.count                                    # 32: every combination, two frames each
    plan.conditions(seed=7, start=10)             # partial conditions from frame 10 on, streamed

Nothing is listed in advance, so that a plan may be larger than memory. Fields that a cell leaves open are drawn from
the schema's prior, for each frame; of a range or of several values one is drawn by the same number that would have
drawn the open field.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from contract.conditions import Schema
from contract.errors import UsageError
from contract.field import Condition, Field, Value
from contract.noise import open_fields
from contract.record import short

MAX_COUNT = 100_000_000
"""File names have eight digits."""


class Range(NamedTuple):
    """Both ends of the band that a number is drawn from uniformly."""

    low: float
    high: float


Choice = tuple[str, ...]
"""Classes of which one is drawn, each as often."""

Setting = Value | Range | Choice


@dataclass(frozen=True)
class Cell:
    """Frames with something in common."""

    given: Mapping[str, Setting]
    """What every frame of it has, or is drawn from."""

    grid: tuple[str, ...] = ()
    """Class fields of which every combination is made, the last one fastest; may be empty."""

    each: int = 1
    """Frames of each combination; without a grid, frames in all."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values: a range as [low, high], a choice as its classes."""
        given = {name: list(value) if isinstance(value, tuple) else value for name, value in self.given.items()}
        return {"set": given, "grid": list(self.grid), "each": self.each}


@dataclass(frozen=True)
class Plan:
    """The conditions of a run, frame by frame."""

    schema: Schema
    cells: Sequence[Cell]

    def __post_init__(self) -> None:
        for cell in self.cells:
            if both := [name for name in cell.grid if name in cell.given]:
                raise UsageError(f"{both[0]}: both set and in the grid; take one of them")
            next(self.schema.grid(cell.grid))  # names the field that can't be in a grid
            if cell.each < 1:
                raise UsageError(f"{cell.each} frames of a cell; expected at least 1")
        if not self.cells:
            raise UsageError("a plan without cells; expected at least one")
        if self.count > MAX_COUNT:
            raise UsageError(f"{self.count} frames: expected at most {MAX_COUNT} in one dataset")

    @property
    def count(self) -> int:
        return sum(map(self._count, self.cells))

    def combinations(self, cell: Cell) -> int:
        """How many different combinations a cell has."""
        return math.prod(len(self.schema.field(name).values) for name in cell.grid)

    def conditions(self, seed: int = 0, start: int = 0, stride: int = 1) -> Iterator[Condition]:
        """Partial conditions from place `start` on; what is drawn for place i is drawn for frame `i * stride`."""
        places = itertools.islice(enumerate(self._settings()), start, None)
        return (self._drawn(settings, seed, place * stride) for place, settings in places)

    def cycle(self, seed: int = 0) -> Iterator[Condition]:
        """Partial conditions without end; what is drawn for a place is drawn anew each time around."""
        places = enumerate(itertools.chain.from_iterable(self._settings() for _ in itertools.count()))
        return (self._drawn(settings, seed, place) for place, settings in places)

    def to_dict(self) -> dict[str, Any]:
        """What `dataset.json` says of it."""
        return {"cells": [cell.to_dict() for cell in self.cells]}

    def _count(self, cell: Cell) -> int:
        return cell.each * self.combinations(cell)

    def _settings(self) -> Iterator[dict[str, Setting]]:
        for cell in self.cells:
            for combination in self.schema.grid(cell.grid):
                yield from itertools.repeat({**cell.given, **combination}, cell.each)

    def _drawn(self, settings: Mapping[str, Setting], seed: int, index: int) -> Condition:
        if not any(isinstance(setting, tuple) for setting in settings.values()):
            return dict(settings)  # type: ignore[arg-type]
        uniforms = open_fields(seed, index).random(len(self.schema.fields)).tolist()
        numbers = dict(zip(self.schema.names, uniforms, strict=True))
        return {name: _choose(setting, numbers[name]) for name, setting in settings.items()}


def check_settings(schema: Schema, settings: Mapping[str, object]) -> dict[str, Setting]:
    """What a plan sets, checked: a value, [low, high] of a number, or several classes; UsageError for others."""
    return {name: _check(schema.field(name), value) for name, value in settings.items()}


def _check(field: Field, value: object) -> Setting:
    if not isinstance(value, (list, tuple)):
        return field.check(value)
    if field.is_class:
        if not value or len(set(map(str, value))) != len(value):
            raise UsageError(f"{field.name}={short(list(value))}: expected different classes, {field.expects()}")
        return tuple(str(field.check(item)) for item in value)
    ends = [float(field.check(item)) for item in value]
    if len(ends) != 2 or ends[0] > ends[1]:
        raise UsageError(f"{field.name}={short(list(value))}: expected [low, high], {field.expects()}")
    return Range(*ends)


def _choose(setting: Setting, uniform: float) -> Value:
    if isinstance(setting, Range):
        return setting.low + uniform * (setting.high - setting.low)
    return setting[int(uniform * len(setting))] if isinstance(setting, tuple) else setting
