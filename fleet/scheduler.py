"""Shards handed to workers, and back in order whatever happens to the workers.

    scheduler = Scheduler(ray, workers, submit)
    for shard in scheduler.run(cut(range(10_000), 512)): ...       # in order of their indices
    scheduler.losses                                               # workers that died and were replaced

Each worker has a shard under way and one waiting. What comes back early waits for its turn; a few shards a worker are
in memory at most. A worker that dies is started again by Ray, and its shards are drawn again; a shard that isn't back
for a long time is given to another worker as well, and whichever comes first counts.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from contract.errors import Unavailable
from fleet.worker import Process, Shard

QUEUED = 2
"""Shards that a worker has at once: the one that it draws, and the next."""

AHEAD = 4
"""Shards a worker that may be finished, or under way, after the one that is to be written next."""

TRIES = 3
"""Workers that a shard may kill before the run gives up: something about it does so."""

PATIENCE = 300.0
"""Seconds in which no shard at all comes back before the next one is given to another worker, too."""

SILENCES = 12
"""Such times in a row after which the run gives up: an hour, in which the slowest engine draws some shard."""

Submit = Callable[[Any, range], Any]
"""Asks a worker for the shard of some indices, and returns Ray's reference to it."""


def cut(indices: range, size: int) -> list[range]:
    """Consecutive ranges between multiples of `size`; the first and the last one may be shorter."""
    firsts = range(indices.start // size * size, indices.stop, size)
    return [range(max(first, indices.start), min(first + size, indices.stop)) for first in firsts]


class Scheduler:
    """Keeps every worker busy; `losses` counts the workers that died meanwhile."""

    def __init__(
        self,
        ray: Any,
        workers: Sequence[Any],
        submit: Submit,
        processes: Sequence[Process] = (),
        patience: float = PATIENCE,
    ) -> None:
        self.losses = 0
        self._ray, self._workers, self._submit, self._patience = ray, list(workers), submit, patience
        self._under_way: dict[Any, tuple[int, range]] = {}
        """By reference: which worker draws which indices."""

        self._done: dict[int, Shard] = {}
        """Finished shards that wait for their turn, by first index."""

        self._killed: Counter[int] = Counter()
        """Workers lost, by the first index of the shard that they drew."""

        self._silences = 0
        self._processes = dict(enumerate(processes))

    def run(self, shards: Sequence[range]) -> Iterator[Shard]:
        """The shards in order. Unavailable where one can't be drawn; errors of the runtime as they are."""
        waiting, expected = deque(shards), deque(shards)
        while expected:
            self._hand_out(waiting, len(self._workers) * AHEAD - len(self._done))
            if expected[0].start in self._done:
                yield self._done.pop(expected.popleft().start)
            else:
                self._take(expected[0])

    def _hand_out(self, waiting: deque[range], room: int) -> None:
        """Give shards to workers that have fewer than two, unless too many finished ones wait."""
        while waiting and len(self._under_way) < room:
            worker, load = self._least_loaded()
            if load >= QUEUED:
                return
            self._give(worker, waiting.popleft())

    def _take(self, head: range) -> None:
        """Wait for a shard to come back; give the next one to another worker as well where none does for long."""
        ready, _ = self._ray.wait(list(self._under_way), timeout=self._patience)
        self._silences = 0 if ready else self._silences + 1
        if self._silences == SILENCES:
            waited = f"frames {head.start} to {head[-1]}: nothing came back for {SILENCES * self._patience:.0f} s"
            raise Unavailable(f"{waited}; look at Ray's logs, or send less at a time with a smaller --shard")
        if not ready:
            self._give_another(head)
        for reference in ready:
            worker, indices = self._under_way.pop(reference)
            try:
                shard: Shard = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, Exception) else error) from None
            except self._ray.exceptions.RayError as error:
                self._count_loss(indices, error)
                self._give(self._least_loaded()[0], indices)
                continue
            self._notice(worker, shard.process)
            if indices.start >= head.start:  # it may have come from another worker before
                self._done[indices.start] = shard

    def _count_loss(self, indices: range, error: Exception) -> None:
        """Unavailable where a shard has killed too many workers."""
        self._killed[indices.start] += 1
        if self._killed[indices.start] == TRIES:
            why = f" ({str(error).strip().splitlines()[0]})"
            found = f"frames {indices.start} to {indices[-1]}: drawn {TRIES} times, no worker gave them back{why}"
            fix = "look at Ray's logs, or draw them on one machine: python -m runtime.generate"
            raise Unavailable(f"{found}; {fix}") from error

    def _give(self, worker: int, indices: range) -> None:
        self._under_way[self._submit(self._workers[worker], indices)] = worker, indices

    def _give_another(self, indices: range) -> None:
        """Give a shard to a worker that doesn't have it, where there is one."""
        having = {worker for worker, given in self._under_way.values() if given == indices}
        if len(having) < len(self._workers):
            self._give(self._least_loaded(having)[0], indices)

    def _least_loaded(self, beside: Collection[int] = ()) -> tuple[int, int]:
        """A worker, which is none of some others, and how many shards it has."""
        load = Counter(worker for worker, _ in self._under_way.values())
        worker = min((each for each in range(len(self._workers)) if each not in beside), key=lambda each: load[each])
        return worker, load[worker]

    def _notice(self, worker: int, process: Process) -> None:
        """A worker that answers from another process was lost and started again."""
        self.losses += self._processes.get(worker, process) != process
        self._processes[worker] = process
