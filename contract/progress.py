"""Progress of long work: a bar on a terminal, a line a minute in a log.

for file in progress_bar(files, desc="verify", unit="file"): ...

with progress_bar(total=1000, unit="frame") as bar:
    bar.update(8)
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")

PAUSE = 60.0
"""Seconds between two lines of a log; what takes less leaves none."""

LINE = "{desc}: {n_fmt} of {total_fmt} {unit}, {rate_fmt}, {remaining} left{postfix}"


class _Log:
    """A stream that takes a bar's redrawings for lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        if line := text.strip():
            self._stream.write(line + "\n")

    def flush(self) -> None:
        self._stream.flush()


def progress_bar(each: Iterable[T] | None = None, **options: Any) -> tqdm[T]:
    """tqdm of an iterable, or of `total` updates, on stderr; `options` are tqdm's own."""
    stream = sys.stderr
    if stream.isatty():
        return tqdm(each, **options)
    log = {"file": _Log(stream), "delay": PAUSE, "mininterval": PAUSE, "maxinterval": PAUSE, "miniters": 1}
    return tqdm(each, **options | log | {"leave": False, "bar_format": LINE})


def write_beside(line: str) -> None:
    """A line on stderr that doesn't break a bar that is being shown."""
    tqdm.write(line, file=sys.stderr)
