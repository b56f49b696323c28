"""A bar of frames with rate and ETA on a terminal, and nothing elsewhere.

with progress("verify step.fp16.onnx", 48) as advance:
    advance(8)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from tqdm import tqdm

Advance = Callable[[int], object]
"""Takes the number of frames that were finished since the last call."""


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Advance]:
    """A bar that vanishes when the block ends."""
    with tqdm(desc=what, total=total, unit="frame", disable=None, leave=False) as bar:
        yield bar.update
