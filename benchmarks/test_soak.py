"""20 000 frames to disk: neither memory nor rate drifts. `pytest benchmarks -m soak`."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.conftest import SOAK
from benchmarks.machine import machine
from benchmarks.to_disk import watch
from contract.bundle import read_manifest
from contract.files import write_whole

FRAMES, WINDOW = 20_000, 500
GROWTH, SLOWING = 0.05, 0.10


@pytest.mark.soak
def test_a_long_run_neither_grows_nor_slows(bundle: Path, tmp_path: Path) -> None:
    windows = watch(bundle, tmp_path / "frames", FRAMES, WINDOW, "int8")
    rates = [window.frames / window.seconds for window in windows]
    growth = max(window.resident for window in windows[1:]) / windows[0].resident - 1.0
    first, last = statistics.median(rates[:10]), statistics.median(rates[-10:])
    found = {
        "machine": machine(),
        "bundle": read_manifest(bundle).digest,
        "frames": FRAMES,
        "precision": "int8",
        "growth_after_first_window": growth,
        "last_over_first_rate": last / first,
        "windows": [asdict(window) for window in windows],
    }
    write_whole(SOAK, json.dumps(found, indent=1).encode() + b"\n")
    print(f"memory grew by {growth:.1%}; {first:.1f} frames a second at first, {last:.1f} in the end")
    assert len(windows) >= FRAMES // WINDOW - 1
    assert growth < GROWTH
    assert abs(last / first - 1.0) < SLOWING
