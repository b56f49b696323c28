"""Every contender draws the same frames, and the runtime keeps its ratios.

One generator is open at a time outside of the table: the threads of an idle session spin for a while.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.competitors import CONTENDERS
from benchmarks.conftest import regressed
from benchmarks.fixtures import BATCHES, cpu_backend
from runtime import Generator

OWN_SHARE = 0.03
"""What the runtime may spend outside the engine, of the time inside it."""

IMPORT_AND_LOAD_MIB = 120.0
"""What the runtime's import and load may take beside the model."""


def test_every_contender_draws_the_same_frames(summary: dict[str, Any]) -> None:
    differing = [f"{r['name']} batch {r['batch']}: {r['difference']}" for r in summary["rows"] if not r["same_frames"]]
    assert not differing


def test_every_peer_was_measured(summary: dict[str, Any]) -> None:
    """A missing package would make a ratio look better than it is."""
    measured = {row["name"] for row in summary["rows"]}
    assert {name for name in CONTENDERS if not name.startswith(("ours cuda", "ours trt"))} <= measured
    assert {row["batch"] for row in summary["rows"] if row["name"] == "ours int8"} == set(BATCHES)


def test_ratios_hold(summary: dict[str, Any]) -> None:
    assert not regressed(summary)


def test_import_and_load_take_little_memory_beside_the_model(summary: dict[str, Any], bundle: Path) -> None:
    """The runtime as `.[cpu]` installs it; OpenVINO, which is faster, takes more, as the table shows."""
    model = (bundle / "step.fp32.onnx").stat().st_size / 2**20
    assert summary["cold"]["ours onnxruntime fp32"]["opened_mib"] - model < IMPORT_AND_LOAD_MIB


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_frames(bundle: Path, benchmark: Any, precision: str, batch: int) -> None:
    benchmark.extra_info |= {"frames": batch}
    with Generator.open(bundle, backend=cpu_backend(), precision=precision, batch=batch, annotator="off") as generator:
        conditions = generator.encode([{}] * batch)
        frames = benchmark.pedantic(generator.generate, (conditions,), rounds=8, warmup_rounds=2)
    assert frames.std() > 10


def test_the_runtime_itself_costs_next_to_nothing(summary: dict[str, Any]) -> None:
    assert 0.0 <= summary["host_share_in_a_stream"]["fp32"] < OWN_SHARE
