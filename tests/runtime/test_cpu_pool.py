"""Batches come in order, the next one under way meanwhile, whatever happens in between."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from contract.errors import UsageError
from runtime import Generator
from runtime.backends.cpu_pool import CpuPool, Frames, Job, cores

NAP = 0.05


def paint(value: int, seconds: float = 0.0) -> Frames:
    time.sleep(seconds)
    return np.full((1, 2), value, np.uint8)


def test_frames_come_in_the_order_of_batches_and_jobs() -> None:
    slow_first: list[list[Job]] = [
        [partial(paint, 3 * batch + job, NAP / (1 + job)) for job in range(1 if batch == 2 else 3)]
        for batch in range(4)
    ]
    pool = CpuPool(2)
    found = [frames[:, 0].tolist() for frames in pool.draw(slow_first)]
    pool.close()
    assert found == [[0, 1, 2], [3, 4, 5], [6], [9, 10, 11]]


def test_the_next_batch_is_under_way_while_one_is_taken_care_of() -> None:
    begun = threading.Event()

    def next_job() -> Frames:
        begun.set()
        return paint(1)

    batches: list[list[Job]] = [[partial(paint, 0)] * 2, [next_job] * 2]
    pool = CpuPool(2)
    drawn = pool.draw(batches)
    next(drawn)
    assert begun.wait(10.0)
    drawn.close()
    pool.close()


def test_a_batch_of_one_job_has_the_cores_to_itself() -> None:
    busy = threading.Lock()

    def alone() -> Frames:
        assert busy.acquire(blocking=False)
        time.sleep(NAP)
        busy.release()
        return paint(0)

    def beside() -> Frames:
        assert not busy.locked()
        return paint(1, NAP)

    pool = CpuPool(2)
    assert len(list(pool.draw([[beside] * 2, [alone], [beside] * 2, [alone], [alone]]))) == 5
    pool.close()


def test_time_inside_counts_once() -> None:
    pool = CpuPool(2)
    started = time.perf_counter()
    list(pool.draw([[partial(paint, 0, NAP)] * 2] * 3))
    assert 2.5 * NAP < pool.seconds <= time.perf_counter() - started
    pool.close()


def test_a_failing_job_has_its_batch_s_other_jobs_cancelled() -> None:
    drawn: list[int] = []

    def fail() -> Frames:
        raise KeyError("gone")

    def late(number: int) -> Frames:
        drawn.append(number)
        return paint(number, NAP)

    pool = CpuPool(1)
    with pytest.raises(KeyError):
        list(pool.draw([[fail, *(partial(late, number) for number in range(20))]]))
    pool.close()
    assert len(drawn) < 5


def test_a_closed_pool_raises_for_whoever_waits() -> None:
    pool = CpuPool(1)
    drawn = pool.draw([[partial(paint, 0, NAP)] * 4] * 3)
    next(drawn)
    threading.Timer(NAP / 2, pool.close).start()
    with pytest.raises(UsageError, match="closed"):
        list(drawn)


def test_a_closed_one_takes_no_more_from_its_source() -> None:
    def source() -> Iterator[list[Job]]:
        raise AssertionError("asked")
        yield []

    pool = CpuPool(1)
    pool.close()
    with pytest.raises(UsageError, match="closed"):
        list(pool.draw(source()))


def test_a_job_s_error_arrives_behind_the_batches_before_it() -> None:
    def fail() -> Frames:
        raise KeyError("gone")

    pool, found = CpuPool(2), []
    with pytest.raises(KeyError):
        for frames in pool.draw([[partial(paint, 0)] * 2, [fail] * 2, [partial(paint, 1)] * 2]):
            found.append(frames)
    pool.close()
    assert len(found) == 1


def test_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= cores() <= 4096


def test_what_was_under_way_arrives_before_the_source_s_own_error(bundle: Path, on_cpu: str) -> None:
    def source() -> Iterator[dict[str, str]]:
        yield from [{"lighting": "night"}] * 6
        raise KeyError("gone")

    frames = 0
    with Generator.open(bundle, on_cpu) as generator, pytest.raises(KeyError):
        for batch in generator.stream(source(), batch=4):
            frames += len(batch.frames)
    assert frames == 4


def test_a_closed_generator_draws_nothing_more(bundle: Path, on_cpu: str) -> None:
    generator = Generator.open(bundle, on_cpu)
    begun, fresh = generator.stream([{}], batch=2), generator.stream([{}], batch=2)
    next(begun)
    generator.close()
    for stream in (begun, fresh):
        with pytest.raises(UsageError, match="closed"):
            list(itertools.islice(stream, 3))


def test_engine_seconds_are_those_inside_the_engine(bundle: Path, on_cpu: str) -> None:
    with Generator.open(bundle, on_cpu, batch=4) as generator:
        started = time.perf_counter()
        generator.generate([{}] * 64)
        assert 0.0 < generator.engine_seconds <= time.perf_counter() - started
