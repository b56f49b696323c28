"""What recordings hold much of and what they lack: data, so that no code names a field.

driving = read_driving(None)                    # driving.json beside this file
driving.tail                                    # {"fatigue_level": ("severe",), ...}
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from contract.conditions import Schema
from contract.errors import UsageError
from contract.files import read_json
from contract.record import Record

OWN = Path(__file__).with_name("driving.json")

Part = Annotated[float, Meta(gt=0, le=1)]


@dataclass(frozen=True)
class Driving(Record):
    """How the real training frames are drawn, and which frames are rare ones."""

    WHAT = "driving"

    shares: dict[str, dict[str, Part]]
    """By class field and value: the share of the training frames that is aimed at, and met for values of the tail. An
    assumption about recordings, not a measurement: plenty of normal driving by day, little of everything else."""

    tail: dict[str, tuple[str, ...]]
    """By class field: the values that put a frame into the tail; one of them suffices."""

    def check(self, schema: Schema) -> None:
        """UsageError where the schema has no such field or value, or a field's shares leave one out."""
        for name, values in [*self.shares.items(), *self.tail.items()]:
            field = schema.field(name)
            for value in values:
                field.check(value)
        for name, shares in self.shares.items():
            if set(shares) != set(schema.field(name).values):
                expected = ", ".join(schema.field(name).values)
                raise UsageError(f"shares of {name}: {', '.join(shares)}; expected one for each of {expected}")


def read_driving(path: Path | None) -> Driving:
    """The shares and the tail of a file, or the project's own."""
    return Driving.from_dict(read_json(path or OWN))
