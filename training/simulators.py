"""What private evolution asks of a renderer, and the renderers that can be asked.

simulator = open_simulator("cartoon", image)
frames = simulator.draw(conditions, people=[3, 7], moments=[0, 1])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from contract.conditions import Schema
from contract.errors import UsageError
from contract.field import Condition
from contract.frames import Frames, ImageShape

BATCH = 64


class Simulator(Protocol):
    """A renderer whose frames follow from a condition, a person's number and a moment's number, and nothing else."""

    schema: Schema
    image: ImageShape
    people: int
    """How many persons it can draw: numbers from 0 on."""

    def draw(self, conditions: Sequence[Condition], people: Sequence[int], moments: Sequence[int]) -> Frames:
        """Frames uint8 [N, H, W, C]."""


class CartoonSimulator:
    """The ray-marched cabin."""

    def __init__(self, size: int) -> None:
        from contract.schemas import CABIN
        from sources.cartoon.cabin import Cabin

        self._cabin = Cabin(size)
        self.schema, self.image = CABIN, ImageShape(3, size, size)
        self.people = self._cabin.domain.subjects

    def draw(self, conditions: Sequence[Condition], people: Sequence[int], moments: Sequence[int]) -> Frames:
        """As `Simulator` has it."""
        parts = []
        for first in range(0, len(conditions), BATCH):
            rows = slice(first, first + BATCH)
            parts.append(self._cabin.draw(list(conditions[rows]), people[rows], 0, moments[rows]).frames)
        return np.concatenate(parts)


SIMULATORS = ("cartoon",)


def open_simulator(name: str, image: ImageShape) -> Simulator:
    """The renderer of that name for frames of a shape; UsageError where it has none."""
    if name not in SIMULATORS:
        raise UsageError(f"--simulator {name}: expected one of {', '.join(SIMULATORS)}")
    if image.channels != 3 or image.height != image.width:
        raise UsageError(f"--simulator {name}: draws square frames of 3 channels; the private ones are {image}")
    return CartoonSimulator(image.height)
