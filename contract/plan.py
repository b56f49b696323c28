"""Which condition each frame of a run is asked for: fields that are set, and a grid over others.

    plan = Plan(schema, schema.parse(["gender=female"]), ("lighting", "accessory"), each=2)
    plan.count                                    # 32: every combination, two frames each
    plan.conditions(start=10)                     # partial conditions from frame 10 on, streamed

Nothing is listed in advance, so that a plan may be larger than memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from contract.conditions import Condition, Schema
from contract.errors import UsageError

MAX_COUNT = 100_000_000
"""File names have eight digits."""


@dataclass(frozen=True)
class Plan:
    """The conditions of a run, frame by frame; fields that it leaves open are drawn for each frame."""

    schema: Schema
    given: Condition
    """What every frame has in common."""

    grid: tuple[str, ...]
    """Class fields of which every combination is made, the last one fastest; may be empty."""

    each: int
    """Frames for each cell of the grid; without a grid, frames in all."""

    def __post_init__(self) -> None:
        if both := [name for name in self.grid if name in self.given]:
            raise UsageError(f"{both[0]}: both set and in the grid; take one of them")
        next(self.schema.grid(self.grid))  # names the field that can't be in a grid
        if self.count > MAX_COUNT:
            raise UsageError(f"{self.count} frames: expected at most {MAX_COUNT} in one dataset")

    @property
    def count(self) -> int:
        return self.each * math.prod(len(self.schema.field(name).values) for name in self.grid)

    def conditions(self, start: int = 0) -> Iterator[Condition]:
        """Partial conditions of the frames from `start` on."""
        cells = (cell for cell in self.schema.grid(self.grid) for _ in range(self.each))
        return (self.given | cell for cell in itertools.islice(cells, start, None))

    def to_dict(self) -> dict[str, Any]:
        """What `dataset.json` says of it."""
        return {"set": dict(self.given), "grid": list(self.grid), "each": self.each}
