"""As many workers as cores draw what one process draws, hardly slower. `pytest benchmarks/test_fleet.py -m soak`."""

from __future__ import annotations

import importlib.util
import json
import statistics
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.conftest import FOLDER
from benchmarks.fixtures import cpu_backend
from benchmarks.fleet_rates import PRECISION, take_turns, writing
from benchmarks.machine import machine
from contract.cores import cores
from contract.files import write_whole

FRAMES, ROUNDS = 1024, 9
SLOWER = 0.15
"""What a fleet on one machine may lose to one process: shards travel to the one writer, workers wait for the last."""


@pytest.mark.soak
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray isn't installed: pip install '.[fleet]'")
def test_workers_on_one_machine_draw_as_fast_as_one_process(bundle: Path, tmp_path: Path) -> None:
    rounds = take_turns(bundle, tmp_path, FRAMES, cores(), ROUNDS)
    ratio = statistics.median(each.fleet / each.one_process for each in rounds)
    found = {
        "machine": machine(),
        "frames": FRAMES,
        "backend": cpu_backend(),
        "precision": PRECISION,
        "workers": cores(),
        "rounds": [asdict(each) for each in rounds],
        "fleet_over_one_process": ratio,
        "writing": {name: asdict(each) for name, each in writing(bundle, tmp_path / "written", FRAMES).items()},
    }
    write_whole(FOLDER / "fleet.json", json.dumps(found, indent=1).encode() + b"\n")
    print(f"{cores()} workers draw {ratio:.1%} of what one process draws")
    assert ratio > 1 - SLOWER
