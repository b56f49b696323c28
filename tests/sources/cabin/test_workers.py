"""Workers of the renderer by themselves."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.connection import Connection

import pytest

from contract.errors import Refused
from sources.cabin import workers
from sources.cabin.settings import Settings
from sources.cabin.workers import ATTEMPTS, TRIES, Job, _Deaths, _serve, run


def test_a_worker_ends_quietly_when_whoever_asked_is_gone(capfd: pytest.CaptureFixture[str]) -> None:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    settings = Settings("no such domain", 16, 0, None, False)
    process = context.Process(target=_serve, args=(there, settings), daemon=True)
    here.send((0, [0], 0))  # its answer is an error, which nobody receives
    process.start()
    there.close()
    here.close()
    process.join(60)
    assert process.exitcode == 0 and not capfd.readouterr().err


def answer(pipe: Connection, settings: Settings) -> None:
    """A worker that draws nothing."""
    while True:
        try:
            number, _, attempt = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send((number, attempt))


def test_a_worker_that_dies_idle_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_serve", answer)
    jobs = [Job(number, (number,)) for number in range(3)]
    said, found = list[str](), list[int]()
    for job, _ in run(jobs, Settings("cabin", 16, 0, None, False), 1, said.append):
        found.append(job.number)
        (worker,) = multiprocessing.active_children()
        worker.kill()
        worker.join()
    assert found == [0, 1, 2]


def test_only_a_crash_of_the_renderer_changes_samples() -> None:
    said, job = list[str](), Job(0, (4, 5))
    deaths = _Deaths(said.append)
    for _ in range(TRIES):
        deaths.count(job, -signal.SIGKILL)
    assert deaths.attempt(job) == 0 and said[-1] == "frames 4 to 5: a worker was ended (SIGKILL); trying again"
    for _ in range(TRIES):
        deaths.count(job, -signal.SIGSEGV)
    assert deaths.attempt(job) == 1 and said[-1].endswith("trying again with other samples (attempt 1)")
    with pytest.raises(Refused, match="at the 10th try; free memory, or lower --workers"):
        for _ in range(TRIES * ATTEMPTS):
            deaths.count(job, -signal.SIGKILL)
