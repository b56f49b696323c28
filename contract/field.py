"""One field of a condition schema: a class with its codes, or a number with its range.

field = Field("lighting", offset=4, values=("day", "night"), codes=((1.0,), (-1.0,)))
slots = field.encode("night")
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from msgspec import Meta

from contract.errors import UsageError
from contract.limits import MAX_WIDTH, Number, Share
from contract.record import Record, one_of, short

ROLES = (
    "fatigue",
    "distraction",
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

Role = Annotated[str, one_of("", *ROLES)]

OF_CLASSES = ("values", "codes", "ordered", "weights", "given_weights")
OF_NUMBERS = ("low", "high", "unit", "prior")
MEANINGS = ("role", "mirrored", "personal", "given_weights")
"""What a stored field says by its kind, and what it only says where it isn't the default."""


@dataclass(frozen=True)
class OcclusionRule(Record):
    """One reason why a frame doesn't show a field: another field has one of `values`, or lies below `below`."""

    WHAT = "occlusion rule"

    field: str
    values: tuple[str, ...] = ()
    below: Number | None = None

    def applies(self, condition: Mapping[str, Value]) -> bool:
        value = condition.get(self.field)
        if isinstance(value, str):
            return value in self.values
        return value is not None and self.below is not None and value < self.below


@dataclass(frozen=True)
class Field(Record):
    """One thing that a frame is conditioned on: a class (codes) or a number (a range)."""

    WHAT = "field"

    name: Annotated[str, Meta(min_length=1)]
    offset: Annotated[int, Meta(ge=0, lt=MAX_WIDTH)]
    """First of the slots in the condition vector that this field fills."""

    values: tuple[str, ...] = ()
    """Names of the classes, in order; empty for a number."""

    codes: tuple[tuple[Number, ...], ...] = ()
    """What each class writes into the slots, one row a value."""

    ordered: bool = False
    """Whether the classes lie on a scale, so that a neighbour is a smaller error than the far end."""

    low: Number = 0.0
    high: Number = 1.0
    """Range of a number in `unit`; encoded linearly onto [-1, 1] in one slot."""

    unit: str = ""

    weights: tuple[Share, ...] = ()
    """How often an open class field takes each value; empty means equally often."""

    prior: tuple[tuple[Number, Number], ...] = ()
    """The band that an open number is drawn from uniformly, one for each value of `given`
    (a single band where nothing is given; empty means the whole range)."""

    given: str | None = None
    """Name of the class field that the prior of this one follows."""

    given_weights: tuple[tuple[Share, ...], ...] = ()
    """`weights` of a class field under each value of `given`, one row each."""

    hidden: tuple[OcclusionRule, ...] = ()
    """What hides this field in a frame; a hidden field is never measured and never scored."""

    role: Role = ""
    """What the field is to code that knows drivers and not this schema (clips, blinks): one of ROLES, or nothing."""

    mirrored: bool = False
    """Whether the number changes its sign when a frame is mirrored."""

    personal: bool = False
    """Whether it belongs to the person and not to the moment; figures are broken down by these fields, too."""

    def __post_init__(self) -> None:
        other = OF_NUMBERS if self.is_class else OF_CLASSES
        if odd := [key for key in other if getattr(self, key) != getattr(Field, key)]:
            raise ValueError(f"{self.name}: {odd[0]} of a {'class' if self.is_class else 'number'}")
        if self.is_class:
            if len(set(self.values)) != len(self.values):
                raise ValueError(f"{self.name}: expected distinct values")
            if len(self.codes) != len(self.values) or not self.codes[0] or len({len(c) for c in self.codes}) != 1:
                raise ValueError(f"{self.name}: expected one code for each value, all of one width")
            if any(len(row) != len(self.values) or not sum(row) > 0 for row in self._rows if row):
                raise ValueError(f"{self.name}: expected one weight for each value, and one above 0")
            if bool(self.given) != bool(self.given_weights) or (self.weights and self.given):
                raise ValueError(f"{self.name}: expected given_weights, and no weights, where there is `given`")
        elif not self.low < self.high or any(not self.low <= a <= b <= self.high for a, b in self.prior):
            raise ValueError(f"{self.name}: expected low < high and prior bands between them")
        if self.mirrored and not self.is_class and self.low != -self.high:
            raise ValueError(f"{self.name}: mirrored; expected a range around 0, since a mirror changes its sign")

    def to_dict(self) -> dict[str, Any]:
        """JSON values; a class leaves out what only numbers have, and a number what only classes have."""
        values = super().to_dict()
        values |= {key: values[key] or None for key in ("weights", "prior")}
        other = OF_NUMBERS if self.is_class else OF_CLASSES
        optional = (*MEANINGS, "given") if self.is_class else MEANINGS
        return {k: v for k, v in values.items() if k not in other and (v or k not in optional)}

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

    @property
    def _rows(self) -> tuple[tuple[float, ...], ...]:
        """Weights of the classes under each value of `given`; a single row where nothing is given."""
        return self.given_weights or (self.weights,)

    @cached_property
    def _edges(self) -> list[list[float]]:
        """Where the share of one value ends and that of the next begins, a list for each of `_rows`; kept, since every
        frame asks for it."""
        rows = [np.asarray(row or [1.0] * len(self.values)) for row in self._rows]
        return [np.cumsum(row / row.sum()).tolist() for row in rows]

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
            except (TypeError, ValueError, OverflowError):
                number = math.nan
            if self.low <= number <= self.high:
                return number
        raise UsageError(f"{self.name}={value if isinstance(value, str) else short(value)}: expected {self.expects()}")

    def encode(self, value: Value) -> tuple[float, ...]:
        if self.is_class:
            return self.codes[self.values.index(str(value))]
        return (2.0 * (float(value) - self.low) / (self.high - self.low) - 1.0,)

    def decode(self, slots: npt.NDArray[np.floating[Any]]) -> Value:
        """The nearest class, or the number clamped to its range."""
        if self.is_class:
            return self.values[int(self.nearest(slots[None])[0])]
        share = float(np.clip((slots[0] + 1.0) / 2.0, 0.0, 1.0))
        return self.low + share * (self.high - self.low)

    def nearest(self, slots: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int64]:
        """Index of the class whose code is nearest: [N] of what N vectors hold in the field's slots."""
        found: npt.NDArray[np.int64] = ((slots[:, None] - np.asarray(self.codes)) ** 2).sum(axis=2).argmin(axis=1)
        return found

    def draw(self, condition: Mapping[str, Value], uniform: float, parents: Mapping[str, Field]) -> Value:
        """A value from the prior; `uniform` in [0, 1) is the only randomness."""
        row = parents[self.given].values.index(str(condition[self.given])) if self.given else 0
        if self.is_class:
            return self.values[min(bisect.bisect_right(self._edges[row], uniform), len(self.values) - 1)]
        low, high = self.prior[row] if self.prior else (self.low, self.high)
        return low + uniform * (high - low)
