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
from contract.errors import ParityError, Unavailable
from contract.gpu import driver_problem
from contract.noise import initial_noises
from runtime import Generator, verified_cache
from runtime.backends import ov
from runtime.backends.ov import OpenVinoBackend, open_openvino
from runtime.generate import main as generate
from runtime.verify import main as verify
from tests.runtime.host_cpu import AUTO_TAKES, needs_openvino
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


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 11), batch=st.integers(1, 9), count=st.integers(1, 4))
def test_frames_depend_neither_on_batch_nor_on_cores(bundle: Path, rows: int, batch: int, count: int) -> None:
    with Generator.open(bundle, "cpu") as generator:
        expected = generator.generate([{"lighting": "night"}] * rows, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ov, "cores", lambda: count)
        with Generator.open(bundle, "openvino", batch=batch) as generator:
            found = generator.generate([{"lighting": "night"}] * rows, seed=3)
    assert apart(found, expected) <= ROUNDING


def test_steps_compiled_as_one_and_steps_run_one_by_one_draw_the_same(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = []
    for chained in (0, ov.CHAINED):
        monkeypatch.setattr(ov, "CHAINED", chained)
        backend = open_openvino(bundle, read_manifest(bundle), "step.fp32.onnx", 4)
        assert backend._engine is not None and (backend._engine._steps is None) == bool(chained)
        frames.append(drawn(backend, bundle, 5))
        backend.close()
    assert frames[0].std() > 10
    assert apart(*frames) <= ROUNDING


@pytest.mark.parametrize(
    ("batch", "count", "streams", "rows"), [(1, 4, 1, 1), (8, 2, 2, 4), (9, 2, 2, 5), (4, 64, 4, 1)]
)
def test_each_core_gets_a_stream_as_far_as_a_batch_goes_round(
    bundle: Path, batch: int, count: int, streams: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ov, "cores", lambda: count)
    backend = open_openvino(bundle, read_manifest(bundle), "step.fp32.onnx", batch)
    assert (backend.batch, backend._pool.workers, backend._rows) == (batch, streams, rows)
    backend.close()


def test_frames_of_one_engine_don_t_depend_on_the_rows_beside_them(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    backend = open_openvino(bundle, manifest, "step.fp32.onnx", 8)
    whole = drawn(backend, bundle, 11)
    condition = np.linspace(-1, 1, 11 * manifest.schema.width, dtype=np.float32).reshape(11, -1)
    x = initial_noises(5, range(11), tuple(manifest.image))
    for row in range(11):
        assert np.array_equal(backend.sample(x[row : row + 1], condition[row : row + 1])[0], whole[row])
    backend.close()


@pytest.mark.skipif(AUTO_TAKES != "openvino" or not driver_problem(), reason="auto takes something else here")
def test_it_is_what_auto_takes_on_a_cpu(own_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Generator.open(own_bundle) as generator:
        assert (generator.choice.backend, generator.batch) == ("openvino", 16)
        assert generator.details()["device"].startswith("cpu, openvino 20")
    assert "openvino" in (own_bundle / "verified.json").read_text()  # held against the reference at its first start
    assert generate([str(own_bundle), "-o", str(tmp_path / "d"), "-n", "5"]) == 0
    assert len(list((tmp_path / "d/frames").rglob("*.png"))) == 5
    assert generate([str(own_bundle), "-o", str(tmp_path / "d"), "-n", "5", "--backend", "cpu"]) == 1
    assert "other backend" in capsys.readouterr().err
    assert verify([str(own_bundle), "--backend", "openvino"]) == 0
    assert "cpu, openvino" in capsys.readouterr().out


def test_wrong_frames_are_noticed_at_the_first_start(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an engine's wrong fusion would draw them."""
    honest = ov.Engine.draw
    monkeypatch.setattr(ov.Engine, "draw", lambda self, x, c: honest(self, x, c) // 2)
    with pytest.raises(ParityError, match=r"on cpu, openvino .*max_abs_difference_of_255"):
        Generator.open(own_bundle, "openvino")


def test_a_read_only_bundle_is_looked_at_at_every_start(own_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes, sync: bool = True) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(verified_cache, "write_whole", refuse)
    Generator.open(own_bundle, "openvino").close()
    assert not (own_bundle / "verified.json").exists()


def test_a_graph_that_can_t_be_compiled_here_leaves_auto_to_the_next(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Exception from src/core.cpp:105:\nno such operation\n")

    monkeypatch.setattr(ov, "_trajectory", fail)
    with pytest.raises(Unavailable, match=r"OpenVINO can't compile it here \(no such operation\)"):
        Generator.open(own_bundle, "openvino")
    with Generator.open(own_bundle) as generator:
        assert generator.choice.backend != "openvino"


REPORTS = """
import sys
from pathlib import Path
from runtime import Generator

Generator.open(sys.argv[1], "openvino").generate([{}])
reported = sorted(name for name in sys.modules if "telemetry" in name or name.startswith("openvino.tools"))
assert not reported, reported
assert "openvino.tools.ovc" not in sys.modules  # not even as a hole, for those who ask for it later
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
