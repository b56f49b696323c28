"""Launch the K steps one by one, or as one CUDA graph? Whichever is faster, measured on the first real batches.

    choice = GraphChoice()
    way = choice.next()                   # "plain" or "graph": how to run the next batch of this size
    choice.record(way, milliseconds)      # how long that took on the device

No batch is run for the measurement alone: a few go one way, a few the other, and then all the faster way. Graphs
gain where launches dominate and lose where the GPU is full, so that every batch size decides for itself.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

PLAIN, GRAPH = "plain", "graph"

TRIALS = 3
"""Batches that are timed each way; the median of three passes over one that was disturbed."""

WARM_UP = 1
"""Batches each way that aren't timed: the first one loads kernels, allocates or captures."""


class GraphChoice:
    """The choice for one batch size."""

    def __init__(self) -> None:
        self._issued = 0
        self._times: dict[str, list[float]] = {PLAIN: [], GRAPH: []}
        self._refused: str | None = None

    @property
    def decided(self) -> str | None:
        """The faster way once it is known, else None."""
        if self._refused is not None:
            return PLAIN
        if any(len(times) < WARM_UP + TRIALS for times in self._times.values()):
            return None
        plain, graph = (statistics.median(self._times[way][WARM_UP:]) for way in (PLAIN, GRAPH))
        return GRAPH if graph < plain else PLAIN

    def next(self) -> str:
        """How to run the next batch. Its time may be recorded after later calls."""
        if self.decided:
            return self.decided
        self._issued += 1
        return GRAPH if WARM_UP + TRIALS < self._issued <= 2 * (WARM_UP + TRIALS) else PLAIN

    def record(self, way: str, milliseconds: float) -> None:
        """The device time of a batch that was run that way."""
        if len(self._times[way]) < WARM_UP + TRIALS:
            self._times[way].append(milliseconds)

    def refuse(self, reason: str) -> None:
        """No graph can be had for this batch size: plain launches from now on."""
        self._refused = reason

    def to_dict(self) -> dict[str, Any]:
        """What was measured, for `--json`: the way taken and the times in milliseconds."""
        report: dict[str, Any] = {"way": self.decided or "undecided"}
        for way, times in self._times.items():
            report[f"{way}_ms"] = [round(milliseconds, 3) for milliseconds in times[WARM_UP:]]
        return report | ({"refused": self._refused} if self._refused else {})


def warn_refused(rows: int, reason: str) -> None:
    """Say in one line on stderr that batches of this size are launched plainly."""
    print(f"CUDA graph for batches of {rows} not used, its steps are launched one by one: {reason}", file=sys.stderr)
