"""A batch divided among the cores: each draws frames of its own, and the next batch is under way meanwhile.

    pool = CpuPool(cores())
    for frames in pool.draw([draw_left, draw_right] for batch in batches):
        ...

Threads that share every operator wait for each other a few hundred times a step, and all but one are idle in operators
too small to be divided. A core with frames of its own doesn't wait.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from contract.errors import UsageError

Frames = npt.NDArray[np.uint8]
Job = Callable[[], Frames]
"""Draws some frames of a batch; it lets other threads run while the engine does."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Drawn(NamedTuple):
    """What one job drew, and when."""

    frames: Frames
    began: float
    ended: float


class CpuPool:
    """A thread for each core, and the batches that they draw."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.seconds = 0.0
        """Time in which anything was drawn; where several batches were under way it counts once."""
        self._pool: ThreadPoolExecutor | None = None
        self._closed, self._counted = False, 0.0

    def close(self) -> None:
        """End the threads; jobs that haven't begun are cancelled."""
        self._closed = True
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None

    def draw(self, batches: Iterable[Sequence[Job]]) -> Iterator[Frames]:
        """The frames of each batch in order, those of its jobs concatenated.

        A batch of several jobs is under way while the caller handles the one before. A batch of one job, which may
        use every core itself, runs alone. Raises UsageError once the pool is closed.
        """
        ahead: deque[list[Future[Drawn]]] = deque()
        source = iter(batches)
        try:
            while True:
                self._check_open()
                try:
                    jobs = next(source)
                except StopIteration:
                    break
                except BaseException:
                    yield from self._joined(ahead, 0)
                    raise
                if len(jobs) > 1:
                    ahead.append(self._begin(jobs))
                    yield from self._joined(ahead, 1)
                else:
                    yield from self._joined(ahead, 0)
                    self._check_open()
                    yield self._concatenated([_timed(jobs[0])])
            yield from self._joined(ahead, 0)
        finally:
            for future in (future for futures in ahead for future in futures):
                future.cancel()

    def _begin(self, jobs: Sequence[Job]) -> list[Future[Drawn]]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers, "core")
        return [self._pool.submit(_timed, job) for job in jobs]

    def _joined(self, ahead: deque[list[Future[Drawn]]], left: int) -> Iterator[Frames]:
        """Wait until `left` batches are under way; a failing one stays, so that its other jobs are cancelled."""
        while len(ahead) > left:
            self._check_open()
            try:
                frames = self._concatenated([future.result() for future in ahead[0]])
            except CancelledError:
                self._check_open()
                raise
            ahead.popleft()
            yield frames

    def _concatenated(self, parts: list[Drawn]) -> Frames:
        ended = max(part.ended for part in parts)
        self.seconds += max(0.0, ended - max(self._counted, min(part.began for part in parts)))
        self._counted = max(self._counted, ended)
        return np.concatenate([part.frames for part in parts]) if len(parts) > 1 else parts[0].frames

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the generator is closed; open it again")


def _timed(job: Job) -> Drawn:
    began = time.perf_counter()
    frames = job()
    return Drawn(frames, began, time.perf_counter())
