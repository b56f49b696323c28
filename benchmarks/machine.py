"""What the figures were measured on, and the energy that it took by its own sensors.

about = machine()                                  # {"cpu": ..., "cores": 2, "versions": {...}, ...}
meter, reason = energy_meter()                     # None and the reason where there is no sensor
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from pytest_benchmark.plugin import pytest_benchmark_generate_machine_info

from contract.cores import cores
from contract.gpu import driver_problem, first_gpu

PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "torch", "openvino", "diffusers")
EXTENSIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")

POWERCAP, HWMON = Path("/sys/class/powercap"), Path("/sys/class/hwmon")

WHOLE = ("VDD_IN", "VIN")
"""Names of a Jetson's channel that includes all others."""

EVERY = 0.05
"""Seconds between two readings of a sensor of power, not energy."""


def machine() -> dict[str, Any]:
    """Processor, memory, system, versions, GPU."""
    about = pytest_benchmark_generate_machine_info()
    known = [name for name in EXTENSIONS if name in about["cpu"].get("flags", ())]
    model = about["cpu"].get("brand_raw") or about["processor"] or "unknown"
    return {
        "cpu": f"{model} ({', '.join(known) or 'no known extensions'})",
        "cores": cores(),
        "architecture": about["machine"],
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{about['system']} {about['release'].split('-')[0]}",
        "python": about["python_implementation_version"],
        "versions": {name: version(name) for name in PACKAGES if name in _installed()},
        "gpu": None if driver_problem() else first_gpu().name,
    }


def _installed() -> set[str]:
    return {found.metadata["Name"] for found in distributions()}


def energy_meter(powercap: Path = POWERCAP, hwmon: Path = HWMON) -> tuple[Callable[[], float] | None, str]:
    """A function that returns the joules taken so far, or None, and where they are read or why they can't be.

    RAPL counts the energy of processor packages; the INA3221 of a Jetson measures power, which is integrated over time.
    """
    counters = sorted(powercap.glob("intel-rapl:[0-9]*/energy_uj"))
    counters = [path for path in counters if path.parent.name.count(":") == 1 and os.access(path, os.R_OK)]
    if counters:
        return _Counters(counters).joules, "RAPL packages"
    rails = [folder for folder in sorted(hwmon.glob("hwmon*")) if _read_text(folder / "name") == "ina3221"]
    pairs = [pair for folder in rails for pair in _channels(folder)]
    if pairs:
        return _Integral(lambda: sum(int(v.read_text()) * int(a.read_text()) for v, a in pairs) / 1e6).joules, "INA3221"
    return None, "no RAPL counter that may be read, no INA3221"


def _channels(folder: Path) -> list[tuple[Path, Path]]:
    """Voltage and current of a sensor's three channels, or of the one alone that measures the whole input."""
    found = [(folder / f"in{number}_input", folder / f"curr{number}_input", number) for number in (1, 2, 3)]
    found = [row for row in found if row[0].exists() and row[1].exists()]
    whole = [row for row in found if _read_text(folder / f"in{row[2]}_label").upper().startswith(WHOLE)]
    return [(volts, amperes) for volts, amperes, _ in whole or found]


def _read_text(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


class _Counters:
    """Energy counters in microjoules that wrap around at their `max_energy_range_uj`."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self._ranges = [int(_read_text(path.with_name("max_energy_range_uj")) or 2**32) for path in paths]
        self._last, self._total = self._values(), 0

    def _values(self) -> list[int]:
        return [int(path.read_text()) for path in self._paths]

    def joules(self) -> float:
        now = self._values()
        self._total += sum((b - a) % r for a, b, r in zip(self._last, now, self._ranges, strict=True))
        self._last = now
        return self._total / 1e6


class _Integral:
    """Watts, sampled on a thread of its own."""

    def __init__(self, watts: Callable[[], float]) -> None:
        self._watts, self._total, self._at = watts, 0.0, time.monotonic()
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(EVERY)
            self.joules()

    def joules(self) -> float:
        with self._lock:
            now = time.monotonic()
            self._total += self._watts() * (now - self._at)
            self._at = now
            return self._total
