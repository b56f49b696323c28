"""However many cores share a batch, the frames are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract.bundle import read_manifest
from contract.noise import initial_noises
from runtime.backends import ort_cpu
from runtime.backends.ort_cpu import open_cpu


@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_frames_don_t_depend_on_the_cores_that_draw_them(
    bundle: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(bundle)
    x = initial_noises(5, range(rows), tuple(manifest.image))
    condition = np.linspace(-1, 1, rows * manifest.schema.width, dtype=np.float32).reshape(rows, -1)
    drawn = []
    for count in (1, 2, 3):
        monkeypatch.setattr(ort_cpu, "cores", lambda count=count: count)
        backend = open_cpu(bundle, manifest, "step.fp32.onnx")
        drawn.append(backend.sample(x.copy(), condition))
        backend.close()
    assert drawn[0].shape[0] == rows and drawn[0].std() > 0
    assert all(np.array_equal(frames, drawn[0]) for frames in drawn[1:])


@pytest.mark.parametrize("rows, count, jobs", [(1, 1, 1), (1, 2, 1), (2, 2, 2), (3, 2, 2), (8, 7, 1)])
def test_a_batch_is_shared_out_where_that_keeps_the_cores_busy(
    bundle: Path, rows: int, count: int, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort_cpu, "cores", lambda: count)
    manifest = read_manifest(bundle)
    backend = open_cpu(bundle, manifest, "step.fp32.onnx")
    x = np.zeros((rows, *manifest.image), np.float32)
    assert len(backend._jobs(x, np.zeros((rows, manifest.schema.width), np.float32))) == jobs
    backend.close()
