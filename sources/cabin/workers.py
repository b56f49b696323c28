"""Worker processes that outlive a crash of the renderer.

    for job, batch in run(jobs, settings, workers=2, report=print): ...

A job whose worker dies is tried once more as it was. One that twice crashes the renderer itself (a segmentation fault
in the path tracer) gets other samples (attempt 1, 2, ...), which is the same for everybody who renders that frame; a
worker that the system killed tells nothing about its job, and changes no pixel.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from contract.errors import EdgeError, Refused
from sources.cabin.domains import DOMAINS
from sources.cabin.settings import Settings

TRIES = 2
"""How often one attempt at a job may bring its worker down."""
ATTEMPTS = 5
OWN = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
"""What a renderer dies of by itself."""
CRASH = "DMS_RENDER_CRASH"
"""Environment variable for tests: a folder; a worker that finds a file there named like its job dies and removes it."""


@dataclass(frozen=True)
class Job:
    """Frames of one sitting."""

    number: int
    indices: tuple[int, ...]


@dataclass
class _Worker:
    process: Any
    pipe: Connection
    job: Job | None = None


class _Deaths:
    """How often each job's worker has died, and how often of the renderer."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._all, self._crashes = Counter[int](), Counter[int]()

    def attempt(self, job: Job) -> int:
        """Which samples the job gets."""
        return self._crashes[job.number] // TRIES

    def count(self, job: Job, status: int | None) -> None:
        """Note that a worker ended with this status at the job; Refused when no attempt gets through."""
        died = signal.Signals(-status) if status is not None and status < 0 else None
        crashed, before = died in OWN, self.attempt(job)
        self._all[job.number] += 1
        self._crashes[job.number] += crashed
        frames = f"frames {job.indices[0]} to {job.indices[-1]}"
        name = died.name if died else f"exit status {status}"
        what = f"the renderer crashed ({name})" if crashed else f"a worker was ended ({name})"
        if self._all[job.number] >= TRIES * ATTEMPTS:
            fix = "report the seed and these frames" if crashed else "free memory, or lower --workers"
            raise Refused(f"{frames}: {what}, at the {self._all[job.number]}th try; {fix}")
        other = f" with other samples (attempt {before + 1})" if self.attempt(job) > before else ""
        self._report(f"{frames}: {what}; trying again{other}")


def run(
    jobs: Sequence[Job], settings: Settings, workers: int, report: Callable[[str], None]
) -> Iterator[tuple[Job, Any]]:
    """(job, batch) as they are finished, in any order; `report` gets one line for each death of a worker."""
    waiting, deaths = deque(jobs), _Deaths(report)
    pool = [_start(settings) for _ in range(min(workers, len(jobs)))]
    try:
        while waiting or any(worker.job for worker in pool):
            for place, worker in enumerate(pool):
                if worker.job is None and waiting:
                    job = waiting.popleft()
                    asked = (job.number, job.indices, deaths.attempt(job))
                    try:
                        worker.pipe.send(asked)
                    except OSError:  # it died idle
                        worker.process.join()
                        worker = pool[place] = _start(settings)
                        worker.pipe.send(asked)
                    worker.job = job
            ready = wait([worker.pipe for worker in pool if worker.job])
            for place, worker in enumerate(pool):
                if worker.pipe not in ready or worker.job is None:
                    continue
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    deaths.count(worker.job, worker.process.exitcode)
                    waiting.appendleft(worker.job)
                    pool[place] = _start(settings)
                    continue
                if isinstance(answer, BaseException):
                    raise answer
                yield worker.job, answer
                worker.job = None
    finally:
        for worker in pool:
            worker.pipe.close()
            worker.process.terminate()
        for worker in pool:
            worker.process.join()


def _start(settings: Settings) -> _Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, settings), daemon=True)
    process.start()
    there.close()
    return _Worker(process, here)


def _serve(pipe: Connection, settings: Settings) -> None:
    """The worker's loop: one thread, one job at a time, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cabin = None
    while True:
        try:
            number, indices, attempt = pipe.recv()
        except (EOFError, OSError):
            return
        _crash_if_told(number)
        try:
            if cabin is None:
                from sources.cabin.driver import Cabin

                cabin = Cabin(settings.size, DOMAINS[settings.domain], settings.samples, settings.cache)
            if settings.asked:
                answer: Any = cabin.draw_like(settings.asked, settings.seed, indices, attempt, settings.layers)
            else:
                conditions, subjects = cabin.conditions(settings.seed, indices)
                answer = cabin.draw(conditions, subjects, settings.seed, indices, attempt, settings.layers)
        except (EdgeError, MemoryError, OSError) as error:
            answer = error
        except Exception:
            frames = f"frames {indices[0]} to {indices[-1]} of seed {settings.seed}"
            answer = RuntimeError(f"{frames}: {traceback.format_exc()}")
        try:
            pipe.send(answer)
        except OSError:  # whoever asked was stopped
            return


def _crash_if_told(number: int) -> None:
    folder = os.environ.get(CRASH)
    if folder and os.path.exists(path := os.path.join(folder, str(number))):
        os.remove(path)
        os.kill(os.getpid(), signal.SIGSEGV)
