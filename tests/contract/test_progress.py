"""What long work shows: a bar on a terminal, a line a minute in a log, nothing where it is short."""

from __future__ import annotations

import io
import re
import sys

import pytest

from contract import progress
from contract.progress import progress_bar, write_beside


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_short_work_leaves_a_log_empty(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress_bar(range(3), unit="file")) == [0, 1, 2]
    with progress_bar(total=8, unit="frame") as bar:
        bar.set_postfix(rejected=1, refresh=False)
        bar.update(8)
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_whole_lines_with_rate_and_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    with progress_bar(total=8, desc="verify", unit="frame") as bar:
        bar.set_postfix(rejected=1, refresh=False)
        bar.update(2)
        write_beside("beside it")
        bar.update(2)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and "\r" not in err and "beside it" in lines
    assert re.fullmatch(r"verify: 4 of 8 frame, +[\d.]+frame/s, \d\d:\d\d left, rejected=1", lines[-1]), lines


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := _Terminal())
    with progress_bar(total=4, unit="frame") as bar:
        bar.update(4)
    assert "\r" in terminal.getvalue() and "4/4" in terminal.getvalue()
