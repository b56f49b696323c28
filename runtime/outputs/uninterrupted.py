"""Ctrl-C waits while what it would leave half done is done.

with uninterrupted():
    log.append(lines)                      # here it would leave lines that nobody has counted
    progress = progress.plus(records)
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Do what follows whole; KeyboardInterrupt (or whatever SIGINT does) comes after it.

    Python delivers signals to the main thread alone, so that elsewhere there is nothing to wait for.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    received: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if received:
            signal.raise_signal(signal.SIGINT)
