"""Clips drawn again, whole, until they show what was asked for: their frames share a noise, and are judged together.

    sampling = ClipRejection(schema, numbered, size=8, below=0.5, frames=1800)   # numbered: (index, complete condition)
    for settled in sampling.settle(draw): ...                                    # the next `size` indices of a clip

A clip is as likely to show its conditions as its frames are on average. Attempt r of it starts from attempt r of the
noise of its first index. It is in memory twice at most: the likeliest attempt so far, and the one that is drawn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from contract.annotation import likelihood
from contract.conditions import Schema
from contract.errors import UsageError
from contract.field import Condition
from contract.frames import ImageShape
from runtime.rejection_sampling import (
    MAX_ATTEMPTS,
    BatchRequest,
    Candidate,
    Draw,
    DrawnBatch,
    Settled,
)

MAX_BYTES = 1 << 30
"""Of the pixels of one attempt."""

Numbered = tuple[int, Condition]


class Attempt(NamedTuple):
    """One attempt of a clip."""

    number: int
    batches: Sequence[DrawnBatch]
    likelihood: float


class ClipRejection:
    """Rejection sampling that settles `frames` indices at once."""

    def __init__(self, schema: Schema, numbered: Iterator[Numbered], size: int, below: float, frames: int) -> None:
        self._schema, self._source, self._size, self._below, self._frames = schema, numbered, size, below, frames

    def settle(self, draw: Draw) -> Iterator[Settled]:
        """Batches of every clip in order, the last one of a clip perhaps shorter."""
        while clip := list(itertools.islice(self._source, self._frames)):
            best, tries = self._best(clip, draw)
            fate: dict[str, Any] = {"tries": tries, "settled": True, "attempt": best.number}
            for rows, batch in zip(self._batches(clip), best.batches, strict=True):
                candidates = [
                    Candidate(index, condition, likelihood=best.likelihood, **fate) for index, condition in rows
                ]
                yield Settled(candidates, batch.frames, batch.annotation)

    def _best(self, clip: Sequence[Numbered], draw: Draw) -> tuple[Attempt, int]:
        """The first attempt that is likely enough, else the likeliest, and how many were drawn."""
        best = self._attempt(clip, 0, draw)
        for number in range(1, MAX_ATTEMPTS):
            if best.likelihood >= self._below:
                return best, number
            best = max(best, self._attempt(clip, number, draw), key=lambda attempt: attempt.likelihood)
        return best, MAX_ATTEMPTS

    def _attempt(self, clip: Sequence[Numbered], number: int, draw: Draw) -> Attempt:
        batches, likelihoods = [], []
        for rows, (frames, annotation) in zip(self._batches(clip), draw(self._requests(clip, number)), strict=True):
            assert annotation is not None, "an annotator has to say what a clip shows"
            batches.append(DrawnBatch(frames, annotation))
            likelihoods += [likelihood(self._schema, annotation, row, c) for row, (_, c) in enumerate(rows)]
        return Attempt(number, batches, float(np.mean(likelihoods)))

    def _requests(self, clip: Sequence[Numbered], number: int) -> Iterator[BatchRequest]:
        for rows in self._batches(clip):
            indices, conditions = zip(*rows, strict=True)
            yield BatchRequest(list(indices), self._schema.encode(conditions), [number] * len(rows))

    def _batches(self, clip: Sequence[Numbered]) -> Iterator[Sequence[Numbered]]:
        return (clip[first : first + self._size] for first in range(0, len(clip), self._size))


def check_clips(frames: int, start: int, image: ImageShape, whole: bool) -> None:
    """UsageError where clips of so many frames can't be drawn or, if they are judged whole, not from `start` on."""
    if frames < 1:
        raise UsageError(f"clip_frames {frames}: expected an integer from 1")
    if not whole:
        return
    size = frames * image.channels * image.height * image.width
    if frames > 1 and size > MAX_BYTES:
        found = f"{frames} frames, {size / 1e9:.1f} GB of pixels"
        raise UsageError(
            f"reject_below: clips of {found}; expected at most {MAX_BYTES / 1e9:.1f} GB; take shorter ones"
        )
    if start % frames:
        raise UsageError(f"start {start}: expected the first frame of a clip, a multiple of {frames}")
