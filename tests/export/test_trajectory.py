"""`--trajectory`: a file that draws the same frames with one call, as docs/deploy.md shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from contract.bundle import read_manifest
from export.__main__ import main
from models.checkpoint import write_checkpoint
from runtime.backends.ort_cpu import open_cpu
from runtime.verify import main as verify
from tests.export.calm_checkpoint import calm_checkpoint

DOCUMENT = Path(__file__).parents[2] / "docs" / "deploy.md"

TYPES = {"TYPE_FP32": "tensor(float)", "TYPE_UINT8": "tensor(uint8)"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trajectory")
    write_checkpoint(folder / "calm.pt", calm_checkpoint())
    command = [str(folder / "calm.pt"), "-o", str(folder / "bundle"), "--precision", "fp32", "fp16", "--trajectory"]
    assert main(command) == 0
    return folder


def test_trajectories_are_measured_like_step_graphs(folder: Path) -> None:
    manifest = read_manifest(folder / "bundle")
    for precision in ("fp32", "fp16"):
        entry, step = manifest.files[f"trajectory.{precision}.onnx"], manifest.parity[f"step.{precision}.onnx"]
        parity = manifest.parity[f"trajectory.{precision}.onnx"]
        assert entry.precision == precision
        assert (parity["metric"], parity["conditions"]) == (step["metric"], step["conditions"])
    assert manifest.parity["trajectory.fp32.onnx"]["measured"] <= 1
    assert verify([str(folder / "bundle"), "--backend", "cpu"]) == 0


def test_the_documented_example(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = next(b for b in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S) if "trajectory" in b)
    assert len([line for line in example.splitlines() if line]) == 6
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(compile(example, str(DOCUMENT), "exec"), names)
    manifest = read_manifest(folder / "bundle")
    backend = open_cpu(folder / "bundle", manifest, "step.fp32.onnx")
    expected = backend.sample(names["noise"].copy(), names["condition"])
    backend.close()
    assert names["frames"].std() > 20
    assert np.abs(names["frames"].astype(int) - expected).max() <= 1


def test_the_documented_triton_configuration_has_the_graph_s_ports(folder: Path) -> None:
    config = next(b for b in re.findall(r"```text\n(.*?)```", DOCUMENT.read_text(), re.S) if "max_batch_size" in b)
    found = re.findall(r'name: "(\w+)" data_type: (\w+) dims: \[([\d, ]+)\]', config)
    session = onnxruntime.InferenceSession(folder / "bundle" / "trajectory.fp32.onnx")
    ports = [*session.get_inputs(), *session.get_outputs()]
    assert [(name, TYPES[kind], len(dims.split(","))) for name, kind, dims in found] == [
        (port.name, port.type, len(port.shape) - 1) for port in ports
    ]
