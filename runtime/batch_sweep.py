"""The batch size that draws the most frames a second here, measured: `--batch auto`.

    rates = sweep(generator)                  # {1: 210.0, 2: 380.0, 4: 395.0}, frames a second by batch size
    generator.batch = fastest(rates)          # 2: the smallest that is about as fast as any

Which size fills a GPU differs by a factor of a hundred between a Jetson and a data centre's card.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from contract.errors import UsageError
from runtime.generator import Generator

LARGEST = 512
"""Frames a call that are tried where the engine itself sets no limit."""

SECONDS, BATCHES = 0.5, 3
"""Each size is run for this long, and this often at least; its fastest batch counts, as others may be disturbed, load
kernels or capture a CUDA graph."""

GAIN = 1.05
"""A larger batch is only worth its memory and latency where it is faster by more than this."""

PATIENCE = 2
"""Sizes in a row without a gain after which larger ones aren't tried."""


def sweep(generator: Generator) -> dict[int, float]:
    """Frames a second by batch size, for powers of two that the engine takes and those that it was built around."""
    rates: dict[int, float] = {}
    for size in candidates(generator.engine_batches):
        try:
            rates[size] = _rate(generator, size)
        except (MemoryError, UsageError):  # no memory for so many frames; the sizes before it fit
            if not rates:
                raise
            break
        tried = list(rates.values())
        if len(tried) > PATIENCE and max(tried[-PATIENCE:]) <= GAIN * max(tried[:-PATIENCE]):
            break
    return rates


def fastest(rates: Mapping[int, float]) -> int:
    """The smallest batch size whose rate is within GAIN of the best."""
    return min(size for size, rate in rates.items() if GAIN * rate >= max(rates.values()))


def candidates(built_around: tuple[int, ...]) -> list[int]:
    """Batch sizes to try, in rising order."""
    low, high = (min(built_around), max(built_around)) if built_around else (1, LARGEST)
    powers = {1 << bit for bit in range(high.bit_length()) if low <= 1 << bit <= high}
    return sorted(powers | set(built_around))


def _rate(generator: Generator, size: int) -> float:
    rows, before = generator.encode([{}] * size), generator.batch
    times: list[float] = []
    generator.batch = size
    try:
        while len(times) < BATCHES or sum(times) < SECONDS:
            started = time.perf_counter()
            generator.generate(rows)
            times.append(time.perf_counter() - started)
    finally:
        generator.batch = before
    return size / min(times)
