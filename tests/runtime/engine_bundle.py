"""Bundles with engines in them, and a machine that seems to have a GPU and a TensorRT."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import FileEntry, read_manifest, write_manifest
from contract.engine import BatchProfile
from contract.schemas import CABIN
from runtime.backends import trt as trt_backend
from tests.fake_bundle import IMAGE, STEPS, fake_sampler, step_graph
from tests.runtime.fake_tensorrt import FakeTensorRT
from tests.runtime.host_gpu import HostGpu

PROFILE = BatchProfile(1, 4, 8)
FROM_TWO = BatchProfile(2, 4, 8)
ENTRY = {
    "flavor": "tensorrt",
    "tensorrt": "10.3.0",
    "target": ["sm87"],
    "batch": {"min": 1, "opt": 4, "max": 8},
}


def add_engine(
    bundle: Path, content: bytes, profile: BatchProfile = PROFILE, verified: bool = True, **changes: Any
) -> str:
    """Put an engine into the bundle, honestly hashed; its name."""
    batch = {"min": profile.min, "opt": profile.opt, "max": profile.max}
    extra = ENTRY | {"batch": batch} | changes
    name = f"step.fp32.{extra['flavor']}.{'+'.join(extra['target'])}.b{profile.min}-{profile.opt}-{profile.max}.engine"
    (bundle / name).write_bytes(content)
    manifest = read_manifest(bundle)
    files = {**manifest.files, name: FileEntry(hashlib.sha256(content).hexdigest(), "fp32", extra)}
    parity = {**manifest.parity, name: {"verified": verified}}
    write_manifest(bundle, replace(manifest, files=files, parity=parity))
    return name


def onnx_of(bundle: Path) -> bytes:
    return (bundle / "step.fp32.onnx").read_bytes()


def altered() -> bytes:
    """A step graph that draws other frames than the reference says."""
    sampler = fake_sampler(STEPS)
    return step_graph(CABIN.width, IMAGE, replace(sampler, alpha_bar=tuple(a * 0.8 for a in sampler.alpha_bar)))


Install = Callable[..., FakeTensorRT]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretend that this machine has a GPU of compute capability 8.7 and a TensorRT."""

    def pretend(version: str = "10.3.0", flavor: str = "tensorrt", **gpu: Any) -> FakeTensorRT:
        device = HostGpu(**gpu)
        trt = FakeTensorRT(device, version, rtx=flavor == "tensorrt_rtx")
        monkeypatch.setattr(trt_backend, "driver_problem", lambda: None)
        monkeypatch.setattr(trt_backend, "open_gpu", lambda: device)
        monkeypatch.setattr(trt_backend, "_flavors", lambda: {flavor: trt})
        return trt

    return pretend
