"""Worker processes that outlive a crash of the renderer.

    for job, batch in run(jobs, settings, workers=2, report=print): ...

A job that brings its worker down (a segmentation fault in the path tracer, a killed process) is tried once more
as it was; a job that does so twice gets other samples (attempt 1, 2, ...), which is the same for everybody who
renders that frame.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
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


def run(
    jobs: Sequence[Job], settings: Settings, workers: int, report: Callable[[str], None]
) -> Iterator[tuple[Job, Any]]:
    """(job, batch) as they are finished, in any order; `report` gets one line for each crash."""
    waiting, crashes = deque(jobs), dict[int, int]()
    pool = [_start(settings) for _ in range(min(workers, len(jobs)))]
    try:
        while waiting or any(worker.job for worker in pool):
            for place, worker in enumerate(pool):
                if worker.job is None and waiting:
                    job = waiting.popleft()
                    try:
                        worker.pipe.send((job.number, job.indices, crashes.get(job.number, 0) // TRIES))
                    except OSError:  # it died idle
                        waiting.appendleft(job)
                        worker.process.join()
                        pool[place] = _start(settings)
                        continue
                    worker.job = job
            ready = wait([worker.pipe for worker in pool if worker.job])
            for place, worker in enumerate(pool):
                if worker.pipe not in ready or worker.job is None:
                    continue
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    waiting.appendleft(_again(worker.job, worker.process.exitcode, crashes, report))
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


def _again(job: Job, status: int | None, crashes: dict[int, int], report: Callable[[str], None]) -> Job:
    """The same job, counted; Refused when no attempt gets through."""
    crashes[job.number] = crashes.get(job.number, 0) + 1
    attempt = crashes[job.number] // TRIES
    frames = f"frames {job.indices[0]} to {job.indices[-1]}"
    if attempt >= ATTEMPTS:
        raise Refused(f"{frames}: the renderer crashed {crashes[job.number]} times; report the seed and these frames")
    name = signal.Signals(-status).name if status is not None and status < 0 else f"exit status {status}"
    report(
        f"{frames}: the renderer crashed ({name}); trying again"
        + (f" with other samples (attempt {attempt})" if attempt else "")
    )
    return job


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
    os.environ["DMS_RENDER_THREADS"] = "1"
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
        except EdgeError as error:
            answer = error
        except Exception as error:
            answer = RuntimeError(
                f"frames {indices[0]} to {indices[-1]} of seed {settings.seed}: {type(error).__name__}: {error}"
            )
        try:
            pipe.send(answer)
        except OSError:  # whoever asked was stopped
            return


def _crash_if_told(number: int) -> None:
    folder = os.environ.get(CRASH)
    if folder and os.path.exists(path := os.path.join(folder, str(number))):
        os.remove(path)
        os.kill(os.getpid(), signal.SIGSEGV)
