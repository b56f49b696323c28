"""What private evolution asks of a renderer, and the renderers that can be asked.

simulator = open_simulator("cabin", image)
frames = simulator.draw(conditions, people=[3, 7], moments=[0, 1])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from contract.conditions import Schema
from contract.errors import UsageError
from contract.field import Condition
from contract.frames import Frames, ImageShape
from contract.schemas import CABIN


class Simulator(Protocol):
    """A renderer whose frames follow from a condition, a person's number and a moment's number, and nothing else."""

    schema: Schema
    image: ImageShape
    people: int
    """How many persons it can draw: numbers from 0 on."""

    def draw(self, conditions: Sequence[Condition], people: Sequence[int], moments: Sequence[int]) -> Frames:
        """Frames uint8 [N, H, W, C]."""


class CabinSimulator:
    """The path-traced cabin, with the people of its training domain: about a second a frame and core."""

    def __init__(self, size: int) -> None:
        from sources.cabin.driver import Cabin

        self._cabin = Cabin(size)
        self.schema, self.image = CABIN, ImageShape(3, size, size)
        self.people = self._cabin.domain.subjects

    def draw(self, conditions: Sequence[Condition], people: Sequence[int], moments: Sequence[int]) -> Frames:
        """As `Simulator` has it."""
        return self._cabin.draw(conditions, people, 0, moments).frames


SIMULATORS = ("cabin",)


def open_simulator(name: str, image: ImageShape) -> Simulator:
    """The renderer of that name for frames of a shape; UsageError where it has none."""
    if name not in SIMULATORS:
        raise UsageError(f"--simulator {name}: expected one of {', '.join(SIMULATORS)}")
    if image.channels != 3 or image.height != image.width:
        raise UsageError(f"--simulator {name}: draws square frames of 3 channels; the private ones are {image}")
    return CabinSimulator(image.height)
