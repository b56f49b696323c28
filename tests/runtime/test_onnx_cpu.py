"""However many cores share a batch, the frames are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract.bundle import read_manifest
from runtime import onnx_cpu
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
        assert (backend._workers is not None) == (1 < count <= rows)
        backend.close()
    assert drawn[0].shape[0] == rows and drawn[0].std() > 0
    assert all(np.array_equal(frames, drawn[0]) for frames in drawn[1:])


def test_cores_are_those_that_the_process_may_use() -> None:
    assert 1 <= cores() <= 4096
