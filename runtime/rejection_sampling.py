"""Frames that don't show what was asked for, drawn again from fresh noise: in full batches, and back in order.

    rejection = Rejection(schema, numbered, size=8, below=0.5)       # numbered: (index, complete condition)
    while rejection.pending:
        for frames in draw(rejection.pieces()):
            rejection.take(frames, annotate(frames))
            for slots in rejection.ready(): ...                      # the next `size` indices, settled

A batch is made of what was rejected so far, and filled up with new frames: the engine always has full batches, and
whatever waits for its turn was drawn at most MAX_ATTEMPTS batches ago. Which frame an index ends with depends on its
own attempts alone, never on what it shared a batch with.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contract.annotation import Annotation, likelihood
from contract.conditions import Array, Condition, Schema

MAX_ATTEMPTS = 16
"""After so many the likeliest is kept, whatever it shows: some conditions are beyond a network."""


class BatchRequest(NamedTuple):
    """What one batch is drawn from."""

    indices: list[int]
    rows: Array
    """Encoded conditions [B, D]."""

    attempts: list[int] | None = None
    """One for each index; None where all are first ones."""


class Kept(NamedTuple):
    """The likeliest frame of an index so far."""

    likelihood: float
    attempt: int
    frame: npt.NDArray[np.uint8]
    """[1, H, W, C]"""

    annotation: Annotation


@dataclass
class Candidate:
    """One index, from its first attempt until it is handed out."""

    index: int
    condition: Condition
    tries: int = 0
    """Attempts that were drawn and read."""

    kept: Kept | None = None
    settled: bool = False


class Rejection:
    """What is under way, what is to be drawn again, and what waits for an index before it."""

    def __init__(self, schema: Schema, numbered: Iterator[tuple[int, Condition]], size: int, below: float) -> None:
        self._schema, self._source, self._size, self._below = schema, numbered, size, below
        self._exhausted = False
        self._waiting: deque[Candidate] = deque()
        self._flying: deque[list[Candidate]] = deque()
        self._rejected: deque[Candidate] = deque()

    @property
    def pending(self) -> bool:
        """Whether there is anything to draw. An engine that takes batches in advance may see the last ones
        rejected after `pieces` has ended; then it has to be asked again."""
        return not self._exhausted or bool(self._rejected)

    def pieces(self) -> Iterator[BatchRequest]:
        """The batches to draw, up to `size` frames each; every one is to be given to `take`, in order."""
        while slots := self._next():
            self._flying.append(slots)
            rows = self._schema.encode([slot.condition for slot in slots])
            yield BatchRequest([slot.index for slot in slots], rows, [slot.tries for slot in slots])

    def take(self, frames: npt.NDArray[np.uint8], annotation: Annotation) -> None:
        """The frames of the oldest batch that is under way, and what they show."""
        for row, slot in enumerate(self._flying.popleft()):
            found = likelihood(self._schema, annotation, row, slot.condition)
            if slot.kept is None or found > slot.kept.likelihood:
                slot.kept = Kept(found, slot.tries, frames[[row]], annotation.rows([row]))  # copies of one row
            slot.tries += 1
            slot.settled = found >= self._below or slot.tries == MAX_ATTEMPTS
            if not slot.settled:
                self._rejected.append(slot)

    def ready(self) -> Iterator[list[Candidate]]:
        """The next `size` indices where all of them are settled, and at the end those that are left."""
        while slots := list(itertools.islice(self._waiting, self._size)):
            if not all(slot.settled for slot in slots) or (len(slots) < self._size and not self._exhausted):
                return
            for _ in slots:
                self._waiting.popleft()
            yield slots

    def _next(self) -> list[Candidate]:
        again = [self._rejected.popleft() for _ in range(min(self._size, len(self._rejected)))]
        room = self._size - len(again)
        new = [Candidate(index, condition) for index, condition in itertools.islice(self._source, room)]
        self._exhausted = self._exhausted or len(new) < room
        self._waiting.extend(new)
        return again + new
