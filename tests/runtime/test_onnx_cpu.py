"""However many cores share a batch, the frames are the same."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from contract.bundle import read_manifest
from contract.errors import UsageError
from runtime import Generator, onnx_cpu
from runtime.noise import initial_noises
from runtime.onnx_cpu import cores, open_cpu


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_frames_don_t_depend_on_the_cores_that_draw_them(
    bundle: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(bundle)
    x = initial_noises(5, range(rows), tuple(manifest.image))
    condition = np.linspace(-1, 1, rows * manifest.schema.width, dtype=np.float32).reshape(rows, -1)
    drawn = []
    for count in (1, 2, 3):
        monkeypatch.setattr(onnx_cpu, "cores", lambda count=count: count)
        backend = open_cpu(bundle, manifest, "step.fp32.onnx")
        drawn.append(backend.sample(x.copy(), condition))
        assert (backend._workers is not None) == (count > 1 and backend._alone(rows))
        backend.close()
    assert drawn[0].shape[0] == rows and drawn[0].std() > 0
    assert all(np.array_equal(frames, drawn[0]) for frames in drawn[1:])


def test_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= cores() <= 4096


@pytest.mark.parametrize(
    "rows, count, alone", [(1, 1, False), (1, 2, False), (2, 2, True), (3, 2, True), (8, 7, False)]
)
def test_a_batch_is_shared_out_where_that_keeps_the_cores_busy(
    bundle: Path, rows: int, count: int, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_cpu, "cores", lambda: count)
    backend = open_cpu(bundle, read_manifest(bundle), "step.fp32.onnx")
    assert backend._alone(rows) is alone
    backend.close()


def test_what_was_under_way_arrives_before_the_source_s_own_error(bundle: Path) -> None:
    def source() -> Iterator[dict[str, str]]:
        yield from [{"lighting": "night"}] * 6
        raise KeyError("gone")

    frames = 0
    with Generator.open(bundle, "cpu") as generator, pytest.raises(KeyError):
        for batch in generator.stream(source(), batch=4):
            frames += len(batch.frames)
    assert frames == 4


def test_a_closed_generator_draws_nothing_more(bundle: Path) -> None:
    generator = Generator.open(bundle, "cpu")
    begun, fresh = generator.stream([{}], batch=2), generator.stream([{}], batch=2)
    next(begun)
    generator.close()
    for stream in (begun, fresh):
        with pytest.raises(UsageError, match="closed"):
            list(itertools.islice(stream, 3))


def test_time_inside_counts_once(bundle: Path) -> None:
    with Generator.open(bundle, "cpu", batch=4) as generator:
        started = time.perf_counter()
        generator.generate([{}] * 64)
        assert 0.0 < generator.engine_seconds <= time.perf_counter() - started
