"""What several of the exporter's tests share: a TensorRT, and bundles that are expensive to make."""

from __future__ import annotations

import importlib
import platform
import sys
from pathlib import Path
from types import ModuleType

import pytest

from export.__main__ import main
from models.checkpoint import write_checkpoint
from tests.export.calm_checkpoint import calm_checkpoint


@pytest.fixture(scope="session")
def trt() -> ModuleType:
    """TensorRT for RTX: on x86-64 Linux a dev dependency, so that tests that need it never skip there."""
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):
        return importlib.import_module("tensorrt_rtx")
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX isn't installed")


@pytest.fixture(scope="session")
def calm_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the step graphs of every precision, made by the command; not to be written to."""
    folder = tmp_path_factory.mktemp("calm")
    write_checkpoint(folder / "calm.pt", calm_checkpoint())
    assert main([str(folder / "calm.pt"), "-o", str(folder / "b"), "--precision", "fp32", "fp16", "int8"]) == 0
    return folder / "b"
