"""How fast the runtime draws on this machine's CPU, and what it spends outside the engine.

    pytest benchmarks

One generator is open at a time: the threads of an idle session spin for a while and would slow the other down.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from runtime import Generator

BATCH, FRAMES, ROUNDS = 8, 32, 3

INT8_OVER_FP32 = 1.5
"""Below this gain in frames per second int8 isn't worth its error. Measured: 2.1 on two threads, 2.5 on one."""

OWN_SHARE = 0.03
"""What the runtime may spend outside the engine, of the time inside it."""


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_frames(bundle: Path, benchmark: Any, precision: str, batch: int) -> None:
    benchmark.extra_info |= {"frames": batch}
    with Generator.open(bundle, backend="cpu", precision=precision, batch=batch) as generator:
        conditions = generator.encode([{}] * batch)
        frames = benchmark(generator.generate, conditions)
    assert frames.std() > 10


def test_int8_is_worth_its_error(bundle: Path) -> None:
    """Rounds take turns, so that drift hits both alike."""
    seconds: dict[str, list[float]] = {"fp32": [], "int8": []}
    for number in range(ROUNDS):
        for precision, taken in seconds.items():
            with Generator.open(bundle, backend="cpu", precision=precision, batch=BATCH) as generator:
                generator.generate([{}] * BATCH)  # warm up
                started = time.perf_counter()
                generator.generate([{}] * FRAMES, seed=1, start=number * FRAMES)
                taken.append(time.perf_counter() - started)
    ratio = statistics.median(seconds["fp32"]) / statistics.median(seconds["int8"])
    print(f"int8 over fp32: {ratio:.2f}")
    assert ratio >= INT8_OVER_FP32


def test_the_runtime_itself_costs_next_to_nothing(bundle: Path) -> None:
    """A 64-frame run, conditions and noise included, without PNG encoding and disk."""
    shares = []
    with Generator.open(bundle, backend="cpu", precision="fp32", batch=BATCH) as generator:
        for number in range(3):
            before, started = generator.engine_seconds, time.perf_counter()
            generator.generate([{}] * 64, seed=number)
            inside = generator.engine_seconds - before
            shares.append((time.perf_counter() - started - inside) / inside)
    print(f"outside the engine: {min(shares):.2%} of the time inside")
    assert min(shares) < OWN_SHARE
