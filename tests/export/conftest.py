"""What several of the exporter's tests share: a TensorRT."""

from __future__ import annotations

import importlib
import platform
import sys
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def trt() -> ModuleType:
    """TensorRT for RTX: on x86-64 Linux a dev dependency, so that tests that need it never skip there."""
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):
        return importlib.import_module("tensorrt_rtx")
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX isn't installed")
