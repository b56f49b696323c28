"""What private evolution asks of a renderer, and the renderers that can be asked.

simulator = open_simulator("cabin", image, workers=2)
frames = simulator.draw(conditions, people=[3, 7], moments=[0, 1])
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from contract.conditions import Schema
from contract.errors import UsageError
from contract.field import Condition
from contract.frames import Frames, ImageShape
from contract.progress import progress_bar
from contract.schemas import CABIN

TOGETHER = 8
"""Frames of one person that a worker draws in one go."""


class Simulator(Protocol):
    """A renderer whose frames follow from a condition, a person's number and a moment's number, and nothing else."""

    schema: Schema
    image: ImageShape
    domain: str
    """Whose people they are; data sets of one domain number them alike."""
    people: range
    """Numbers of the persons that it can draw, as data sets have them."""

    def draw(self, conditions: Sequence[Condition], people: Sequence[int], moments: Sequence[int]) -> Frames:
        """Frames uint8 [N, H, W, C]; conditions may be rounded to what float32 vectors hold."""


class CabinSimulator:
    """The path-traced cabin, with the people of its training domain: about two seconds a frame and core."""

    def __init__(self, size: int, workers: int) -> None:
        from sources.cabin.domains import CABIN_DOMAIN

        self.schema, self.image, self.workers = CABIN, ImageShape(3, size, size), workers
        first, last = CABIN_DOMAIN.key(np.array([0, CABIN_DOMAIN.subjects - 1])).tolist()
        self.domain, self.people = CABIN_DOMAIN.name, range(first, last + 1)

    def draw(self, conditions: Sequence[Condition], people: Sequence[int], moments: Sequence[int]) -> Frames:
        """As `Simulator` has it, by workers that survive a crash of the renderer."""
        from sources.cabin.settings import Asked, Settings
        from sources.cabin.workers import Job, run

        size, jobs = self.image.height, [Job(number, rows) for number, rows in enumerate(_by_person(people))]
        asked = Asked(
            CABIN.encode(conditions), {}, np.array(people, np.int64) - self.people.start, np.array(moments, np.int64)
        )
        settings = Settings(self.domain, size, 0, None, False, asked=asked)
        frames = np.empty((len(conditions), size, size, 3), np.uint8)
        with progress_bar(total=len(frames), desc="frames", unit="frame", leave=False) as bar:
            for job, batch in run(jobs, settings, self.workers, lambda line: print(line, file=sys.stderr)):
                frames[list(job.indices)] = batch.frames
                bar.update(len(job.indices))
        return frames


def _by_person(people: Sequence[int]) -> list[tuple[int, ...]]:
    """Places of all frames, those of one person together, at most TOGETHER of them."""
    places: dict[int, list[int]] = defaultdict(list)
    for place, person in enumerate(people):
        places[person].append(place)
    return [tuple(own[first : first + TOGETHER]) for own in places.values() for first in range(0, len(own), TOGETHER)]


SIMULATORS = ("cabin",)


def open_simulator(name: str, image: ImageShape, workers: int = 1) -> Simulator:
    """The renderer of that name for frames of a shape; UsageError where it has none."""
    if name not in SIMULATORS:
        raise UsageError(f"--simulator {name}: expected one of {', '.join(SIMULATORS)}")
    if image.channels != 3 or image.height != image.width:
        raise UsageError(f"--simulator {name}: draws square frames of 3 channels; the private ones are {image}")
    return CabinSimulator(image.height, workers)
