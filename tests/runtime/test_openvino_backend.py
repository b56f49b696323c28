"""OpenVINO draws what ONNX Runtime draws, whatever is compiled as one and however a batch is shared out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.bundle import read_manifest
from contract.errors import Unavailable
from runtime import Generator, openvino_backend
from runtime.generate import main as generate
from runtime.noise import initial_noises
from runtime.openvino_backend import OpenVinoBackend, open_openvino
from runtime.verify import main as verify
from tests.runtime.host_cpu import needs_openvino
from tests.test_imports import ROOT, run_without

pytestmark = needs_openvino

ROUNDING = 1
"""Levels by which two engines' frames may differ in fp32."""


def drawn(backend: OpenVinoBackend, bundle: Path, rows: int) -> np.ndarray:
    manifest = read_manifest(bundle)
    condition = np.linspace(-1, 1, rows * manifest.schema.width, dtype=np.float32).reshape(rows, -1)
    return backend.sample(initial_noises(5, range(rows), tuple(manifest.image)), condition)


def apart(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b).max())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 11), batch=st.integers(1, 9), count=st.integers(1, 4))
def test_frames_depend_neither_on_batch_nor_on_cores(bundle: Path, rows: int, batch: int, count: int) -> None:
    with Generator.open(bundle, "cpu") as generator:
        expected = generator.generate([{"lighting": "night"}] * rows, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino_backend, "cores", lambda: count)
        with Generator.open(bundle, "openvino", batch=batch) as generator:
            found = generator.generate([{"lighting": "night"}] * rows, seed=3)
    assert apart(found, expected) <= ROUNDING


def test_steps_compiled_as_one_and_steps_run_one_by_one_draw_the_same(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = []
    for chained in (0, openvino_backend.CHAINED):
        monkeypatch.setattr(openvino_backend, "CHAINED", chained)
        backend = open_openvino(bundle, read_manifest(bundle), "step.fp32.onnx", 4)
        assert (backend._engines[False]._steps is None) == bool(chained)
        frames.append(drawn(backend, bundle, 5))
        backend.close()
    assert frames[0].std() > 10
    assert apart(*frames) <= ROUNDING


def test_a_single_frame_is_drawn_by_every_core(bundle: Path) -> None:
    backend = open_openvino(bundle, read_manifest(bundle), "step.fp32.onnx", 1)
    assert list(backend._engines) == [True]
    alone = drawn(backend, bundle, 1)
    backend.close()
    backend = open_openvino(bundle, read_manifest(bundle), "step.fp32.onnx", 8)
    assert apart(drawn(backend, bundle, 1), alone) <= ROUNDING
    assert set(backend._engines) == {False, True}
    backend.close()


def test_it_is_what_auto_takes_on_a_cpu(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Generator.open(bundle, "openvino") as generator:
        assert generator.batch == 16
        assert generator.details()["device"].startswith("cpu, openvino 20")
    assert generate([str(bundle), "-o", str(tmp_path / "d"), "-n", "5", "--backend", "openvino"]) == 0
    assert len(list((tmp_path / "d/frames").glob("*.png"))) == 5
    assert verify([str(bundle), "--backend", "openvino", "--state", str(tmp_path)]) == 0
    assert "cpu, openvino" in capsys.readouterr().out


REPORTS = """
import sys
from pathlib import Path
from runtime import Generator

Generator.open(sys.argv[1], "openvino").generate([{}])
reported = sorted(name for name in sys.modules if "telemetry" in name or name.startswith("openvino.tools"))
assert not reported, reported
import openvino.tools.ovc  # still there for those who ask for it
"""


def test_nothing_is_reported_over_the_network(bundle: Path) -> None:
    """The package's converter tells its maker of every import of it; the runtime leaves it out."""
    done = subprocess.run(
        [sys.executable, "-c", REPORTS, bundle], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_without_openvino_the_error_says_how_to_get_it(bundle: Path, tmp_path: Path) -> None:
    command = (bundle, "-o", tmp_path / "d", "-n", 2)
    done = run_without({"openvino"}, "runtime.generate", *command, "--backend", "openvino")
    assert done.returncode == 1 and "pip install '.[openvino]'" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "d").exists()
    done = run_without({"openvino"}, "runtime.generate", *command)
    assert done.returncode == 0 and "openvino isn't installed" in done.stderr


def test_a_precision_that_the_bundle_lacks_is_named(bundle: Path) -> None:
    with pytest.raises(Unavailable, match=r"openvino: the bundle has no int8 step graph for it, only fp32"):
        Generator.open(bundle, "openvino", precision="int8")
