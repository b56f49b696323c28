"""Which frames each batch draws: new ones, and those again that don't show their condition, until all are settled.

    sampling = RejectionSampling(schema, numbered, size=8, below=0.5)   # numbered: (index, complete condition)
    for settled in sampling.settle(draw): ...                           # the next `size` indices, in order

Without a threshold every frame is settled by its first attempt, and batches come back as they were drawn.

A batch holds what was rejected so far, filled up with new frames: the engine always has full batches, and whatever
waits for its turn was drawn at most MAX_ATTEMPTS batches ago. Which frame an index ends with depends on its own
attempts alone, never on what it shared a batch with.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from contract.annotation import Annotation, likelihood
from contract.conditions import Array, Schema
from contract.field import Condition
from contract.frames import Frames

MAX_ATTEMPTS = 16
"""Attempts after which the likeliest is kept, whatever it shows: some conditions are beyond a network."""


class BatchRequest(NamedTuple):
    """What one batch is drawn from."""

    indices: list[int]
    rows: Array
    """Encoded conditions [B, D]."""

    attempts: list[int] | None = None
    """One for each index; None where all are first ones."""


Draw = Callable[[Iterable[BatchRequest]], Iterator[tuple[Frames, Annotation | None]]]
"""Draws each request in order: its frames uint8 [B, H, W, C] and, where an annotator runs, what they show."""


class DrawnBatch(NamedTuple):
    """One batch as the engine drew it."""

    frames: Frames
    annotation: Annotation | None
    """What the frames show, where an annotator ran."""


@dataclass
class Candidate:
    """One index, from its first attempt until it is handed out."""

    index: int
    condition: Condition
    tries: int = 0
    """Attempts that were drawn."""

    settled: bool = False
    likelihood: float = -1.0
    """Of the likeliest attempt so far."""

    attempt: int = 0
    """Which attempt that is."""

    batch: DrawnBatch | None = None
    row: int = 0
    """Where it was drawn."""


class Settled(NamedTuple):
    """Consecutive indices and the frames that they end with."""

    candidates: Sequence[Candidate]
    frames: Frames
    annotation: Annotation | None


class RejectionSampling:
    """What is under way, what is to be drawn again, and what waits for an index before it."""

    def __init__(
        self, schema: Schema, numbered: Iterator[tuple[int, Condition]], size: int, below: float | None = None
    ) -> None:
        self._schema, self._source, self._size, self._below = schema, numbered, size, below
        self._exhausted = False
        self._waiting: deque[Candidate] = deque()
        self._under_way: deque[list[Candidate]] = deque()
        self._rejected: deque[Candidate] = deque()

    def settle(self, draw: Draw) -> Iterator[Settled]:
        """Draw until every index has its frame; without a threshold no annotator needs to run."""
        while self.pending:
            for frames, annotation in draw(self.requests()):
                self.take(frames, annotation)
                yield from self.ready()
        yield from self.ready()  # that no index is left may only have been noticed after the last batch

    @property
    def pending(self) -> bool:
        """Whether there is anything to draw. An engine that takes batches in advance may see the last ones
        rejected after `requests` has ended; then it has to be asked again."""
        return not self._exhausted or bool(self._rejected)

    def requests(self) -> Iterator[BatchRequest]:
        """The batches to draw, up to `size` frames each; every one is to be given to `take`, in order."""
        while candidates := self._next():
            self._under_way.append(candidates)
            rows = self._schema.encode([candidate.condition for candidate in candidates])
            indices = [candidate.index for candidate in candidates]
            yield BatchRequest(indices, rows, [candidate.tries for candidate in candidates])

    def take(self, frames: Frames, annotation: Annotation | None) -> None:
        """The frames of the oldest batch that is under way, and what they show."""
        batch = DrawnBatch(frames, annotation)
        for row, candidate in enumerate(self._under_way.popleft()):
            found = self._likelihood(annotation, row, candidate)
            if found > candidate.likelihood:
                candidate.likelihood, candidate.attempt = found, candidate.tries
                candidate.batch, candidate.row = batch, row
            candidate.tries += 1
            candidate.settled = self._below is None or found >= self._below or candidate.tries == MAX_ATTEMPTS
            if not candidate.settled:
                self._rejected.append(candidate)

    def ready(self) -> Iterator[Settled]:
        """The next `size` indices where all of them are settled, and at the end those that are left."""
        while candidates := list(itertools.islice(self._waiting, self._size)):
            if not all(candidate.settled for candidate in candidates):
                return
            if len(candidates) < self._size and not self._exhausted:
                return
            for _ in candidates:
                self._waiting.popleft()
            yield _gather(candidates)

    def _likelihood(self, annotation: Annotation | None, row: int, candidate: Candidate) -> float:
        if self._below is None or annotation is None:
            return 1.0
        return likelihood(self._schema, annotation, row, candidate.condition)

    def _next(self) -> list[Candidate]:
        again = [self._rejected.popleft() for _ in range(min(self._size, len(self._rejected)))]
        room = self._size - len(again)
        new = [Candidate(index, condition) for index, condition in itertools.islice(self._source, room)]
        self._exhausted = self._exhausted or len(new) < room
        self._waiting.extend(new)
        return again + new


def _gather(candidates: Sequence[Candidate]) -> Settled:
    """The kept frame of each candidate; a batch that was kept whole isn't copied."""
    places = [(candidate.batch, candidate.row) for candidate in candidates if candidate.batch is not None]
    first = places[0][0]
    if len(first.frames) == len(places) and all(batch is first and row == n for n, (batch, row) in enumerate(places)):
        return Settled(candidates, first.frames, first.annotation)
    frames = np.stack([batch.frames[row] for batch, row in places])
    annotations = [batch.annotation.rows([row]) for batch, row in places if batch.annotation is not None]
    return Settled(candidates, frames, Annotation.join(annotations) if annotations else None)
