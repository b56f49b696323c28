"""Exported graphs in OpenVINO: every precision, guidance, a trajectory too long to be compiled as one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from contract.bundle import read_manifest
from export.__main__ import main as export
from models.checkpoint import write_checkpoint
from runtime.backends.ov import CHAINED, _trajectory, import_openvino
from runtime.verify import main as verify
from tests.runtime.host_cpu import needs_openvino
from tests.tiny_checkpoint import tiny_checkpoint

pytestmark = needs_openvino


def verified(bundle: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Files that OpenVINO draws as the manifest asks for."""
    capsys.readouterr()
    assert verify([str(bundle), "--backend", "openvino", "--json"]) == 0
    replayed = json.loads(capsys.readouterr().out)["replayed"]
    assert all(entry["verified"] and entry["backend"] == "openvino" for entry in replayed)
    return [entry["file"] for entry in replayed]


def test_a_guided_network_in_every_precision(
    calm_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(calm_bundle, tmp_path / "b"))
    manifest = read_manifest(bundle)
    assert manifest.sampler.guidance == 2.0 and manifest.sampler.steps <= CHAINED
    assert verified(bundle, capsys) == ["step.fp16.onnx", "step.fp32.onnx", "step.int8.onnx"]


def test_the_document_s_network_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "doc.pt", tiny_checkpoint())
    assert export([str(tmp_path / "doc.pt"), "-o", str(tmp_path / "b"), "--steps", str(CHAINED + 2)]) == 0
    assert verified(tmp_path / "b", capsys) == ["step.fp32.onnx"]


def test_products_by_the_same_weights_are_joined_over_the_steps(calm_bundle: Path) -> None:
    """FiLM's, and those of the condition's own embedding; none stays behind once for each step."""
    openvino, steps = import_openvino(), read_manifest(calm_bundle).sampler.steps
    model = openvino.Core().read_model(calm_bundle / "step.fp32.onnx")
    single = sum(node.get_type_name() == "MatMul" for node in model.get_ordered_ops())
    trajectory = _trajectory(openvino, model, steps)
    assert single > 1
    assert sum(node.get_type_name() == "MatMul" for node in trajectory.get_ordered_ops()) == single
    assert [port.any_name for port in trajectory.inputs] == ["x", "condition"]
    assert [port.any_name for port in trajectory.outputs] == ["frame"]
