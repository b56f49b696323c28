"""What a run would come to: its cells, frames, bytes and time, from a short measurement.

found = preview(generator, plan, settings)
found.frames, found.bytes, found.seconds
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from contract.dataset import to_line
from runtime.clips import FramePlan
from runtime.dataset_run import RunSettings, draw, records_of
from runtime.generator import Generator
from runtime.outputs.images import FrameEncoder

BATCHES = 3
"""Batches that are drawn; the first warms up, and isn't timed where there are others."""


class Preview(NamedTuple):
    """What a plan takes."""

    cells: list[dict[str, Any]]
    """Each with `set`, `grid`, `each` and its `frames`."""

    frames: int
    bytes: int
    """Estimated, of images and records."""

    seconds: float
    """Estimated."""

    measured: int
    """Frames that were drawn for the estimate."""


def preview(generator: Generator, plan: FramePlan, settings: RunSettings) -> Preview:
    """Draw the first batches of a plan, or the first clip where clips are judged whole, and keep nothing."""
    encode, sizes, times = FrameEncoder(settings.codec), [], []
    whole = settings.clip.frames if settings.clip and settings.reject_below is not None else 0
    first = range(min(plan.count, whole or BATCHES * generator.batch))
    started = time.perf_counter()
    with ThreadPoolExecutor() as pool:
        for batch in draw(generator, plan, settings, first):
            lines = [to_line(entry) for entry in records_of(batch, settings.seed, settings.codec, settings.clip)]
            sizes += [len(line) + len(c) for line, c in zip(lines, pool.map(encode, batch.frames), strict=True)]
            times.append((len(batch.frames), time.perf_counter() - started))
            started = time.perf_counter()
    timed = times if whole else times[1:] or times
    each = sum(seconds for _, seconds in timed) / sum(frames for frames, _ in timed)
    frames = settings.clip.frames if settings.clip else 1
    cells = [cell.to_dict() | {"frames": cell.each * plan.combinations(cell) * frames} for cell in plan.cells]
    return Preview(cells, plan.count, round(plan.count * sum(sizes) / len(sizes)), plan.count * each, len(sizes))
