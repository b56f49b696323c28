"""Joules are read where there is a sensor, and null with a reason elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks import machine as module
from benchmarks.machine import energy_meter, machine


def test_packages_are_summed_and_counters_may_wrap_around(tmp_path: Path) -> None:
    for name, energy in (("intel-rapl:0", 900), ("intel-rapl:1", 100), ("intel-rapl:0:0", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("1000\n")
    joules, where = energy_meter(tmp_path, tmp_path / "none")
    assert joules is not None and "RAPL" in where
    assert joules() == 0.0
    (tmp_path / "intel-rapl:0/energy_uj").write_text("200")  # 300 on, past its range
    (tmp_path / "intel-rapl:1/energy_uj").write_text("150")
    assert joules() == pytest.approx(350e-6)


def test_power_is_summed_over_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.002)
    rail = tmp_path / "hwmon3"
    rail.mkdir()
    for name, value in (("name", "ina3221"), ("in1_input", "5000"), ("curr1_input", "2000")):  # 5 V, 2 A
        (rail / name).write_text(f"{value}\n")
    joules, where = energy_meter(tmp_path / "none", tmp_path)
    assert joules is not None and where == "INA3221"
    before, started = joules(), time.monotonic()
    time.sleep(0.05)
    spent, seconds = joules() - before, time.monotonic() - started
    assert 5.0 * seconds < spent < 20.0 * seconds


def test_a_channel_that_includes_all_others_is_read_alone(tmp_path: Path) -> None:
    """As on a Jetson: VDD_IN is the whole module, and the fourth pair of files isn't a channel."""
    rail = tmp_path / "hwmon1"
    rail.mkdir()
    files = {"name": "ina3221", "in1_label": "VDD_IN", "in2_label": "VDD_CPU_GPU_CV", "in3_label": "VDD_SOC"}
    for number, (volts, amperes) in enumerate([(5000, 2000), (5000, 900), (5000, 400), (80, 3300)], start=1):
        files |= {f"in{number}_input": str(volts), f"curr{number}_input": str(amperes)}
    for name, value in files.items():
        (rail / name).write_text(f"{value}\n")
    assert [volts.name for volts, _ in module._channels(rail)] == ["in1_input"]
    (rail / "in1_label").write_text("VDD_GPU\n")
    assert [volts.name for volts, _ in module._channels(rail)] == ["in1_input", "in2_input", "in3_input"]


def test_without_a_sensor_there_is_a_reason(tmp_path: Path) -> None:
    joules, reason = energy_meter(tmp_path, tmp_path)
    assert joules is None and "RAPL" in reason


def test_the_machine_is_described() -> None:
    about = machine()
    assert about["cores"] >= 1 and about["versions"]["numpy"] and about["memory_gib"] > 0.1
