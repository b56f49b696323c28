"""Workers of the renderer by themselves."""

from __future__ import annotations

import multiprocessing

import pytest

from sources.cabin.settings import Settings
from sources.cabin.workers import _serve


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
