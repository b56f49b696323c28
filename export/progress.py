"""A bar of frames as `contract.progress` shows it, for code that only says how far it is.

with progress("verify step.fp16.onnx", 48) as advance:
    advance(8)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from contract.progress import progress_bar

Advance = Callable[[int], object]
"""Takes the number of frames that were finished since the last call."""


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """A bar that vanishes when the block ends."""
    with progress_bar(desc=what, total=total, unit="frame", leave=False) as bar:
        yield bar.update
