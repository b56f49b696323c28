"""One bundle of the shipped checkpoint for all benchmarks, and the machine in the header."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from export.__main__ import main as export

ROOT = Path(__file__).parents[1]


def pytest_report_header() -> str:
    """What the figures were measured on."""
    names = [line.partition(":")[2].strip() for line in _cpu_lines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {platform.machine()}"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`checkpoints/cabin64.pt` exported in fp32 and int8."""
    folder = tmp_path_factory.mktemp("bench") / "bundle"
    assert export([str(ROOT / "checkpoints/cabin64.pt"), "-o", str(folder), "--precision", "fp32", "int8"]) == 0
    return folder
