"""As many workers as cores draw what one process draws, hardly slower. `pytest benchmarks/test_fleet.py -m soak`."""

from __future__ import annotations

import filecmp
import importlib.util
import json
import statistics
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.conftest import FOLDER
from benchmarks.fixtures import cpu_backend
from benchmarks.fleet_rates import PRECISION, fleet, load, one_process, writing
from benchmarks.machine import machine
from contract.files import write_whole
from runtime.backends.cpu_pool import cores

FRAMES, ROUNDS = 4096, 3
SLOWER = 0.15
"""What a fleet on one machine may lose to one process: shards travel to the one writer, workers wait for the last."""


@pytest.mark.soak
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray isn't installed: pip install '.[fleet]'")
def test_workers_on_one_machine_draw_as_fast_as_one_process(bundle: Path, tmp_path: Path) -> None:
    rounds, ratios = [], []
    for number in range(ROUNDS):
        one, many = tmp_path / f"one-{number}", tmp_path / f"many-{number}"
        before = load()
        rates = one_process(bundle, one, FRAMES), fleet(bundle, many, FRAMES, cores())
        ratios.append(rates[1] / rates[0])
        rounds.append({"one_process": rates[0], "fleet": rates[1], "load": [before, load()]})
        assert_same(one, many)
    ratio = statistics.median(ratios)
    found = {
        "machine": machine(),
        "frames": FRAMES,
        "backend": cpu_backend(),
        "precision": PRECISION,
        "workers": cores(),
        "rounds": rounds,
        "fleet_over_one_process": ratio,
        "writing": {name: asdict(each) for name, each in writing(bundle, tmp_path / "written", FRAMES).items()},
    }
    write_whole(FOLDER / "fleet.json", json.dumps(found, indent=1).encode() + b"\n")
    print(f"{cores()} workers draw {ratio:.1%} of what one process draws")
    assert ratio > 1 - SLOWER


def assert_same(one: Path, many: Path) -> None:
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert filecmp.cmpfiles(one, many, names, shallow=False)[0] == names
