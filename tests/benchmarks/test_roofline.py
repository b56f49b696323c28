"""Operations and bytes of a graph counted by hand, bounds by hand, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.layers import Layer, read_layers
from benchmarks.roofline import bound, main
from tests.fake_bundle import write_fake_bundle


def _graph(path: Path, stride: int = 1) -> Path:
    """A 3 x 3 convolution from 2 to 4 channels over 8 x 8 pixels, and a ReLU."""
    import numpy as np

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4, 8 // stride, 8 // stride])
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="conv", pads=[1] * 4, strides=[stride] * 2),
        helper.make_node("Relu", ["h"], ["y"], name="relu"),
    ]
    weight = numpy_helper.from_array(np.zeros((4, 2, 3, 3), np.float32), "w")
    graph = helper.make_graph(nodes, "g", [x], [y], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_layers_are_counted(tmp_path: Path) -> None:
    convolution, relu = read_layers(_graph(tmp_path / "g.onnx"), batch=3)
    pixels, taps = 3 * 8 * 8, 8 * 3 - 2  # along a side, without the two that lie outside
    assert convolution.operations == 2 * 3 * (4 * 2) * taps**2
    assert convolution.weights == 4 * 2 * 3 * 3 and convolution.activations == pixels * (2 + 4)
    assert relu.operations == pixels * 4 and relu.weights == 0 and relu.activations == pixels * 8
    assert convolution.bytes(1.0, 2.0) == 72 + 2 * pixels * 6


def test_a_stride_leaves_places_out(tmp_path: Path) -> None:
    convolution, _ = read_layers(_graph(tmp_path / "g.onnx", stride=2), batch=1)
    assert convolution.operations == 2 * (4 * 2) * (2 + 3 + 3 + 3) ** 2


def test_a_layer_takes_the_longer_of_its_arithmetic_and_its_bytes() -> None:
    layers = [Layer("a", "Conv", 4e9, 1000, 0), Layer("b", "Add", 1e6, 0, 1_000_000_000)]
    found = bound(layers, tera=1.0, gigabytes=100.0, size=4.0, ends=1e6)
    assert found.moved == pytest.approx(4e-3 + 40e-3)
    assert found.fused == pytest.approx(4e-3 + 1e-6 + 10e-6) and found.bound_by == "arithmetic"
    assert bound([Layer("w", "Gemm", 1.0, 10**9, 0)], 1.0, 100.0, 1.0, 0.0).bound_by == "memory"


def test_the_command_calls_them_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "bundle"
    write_fake_bundle(bundle)
    assert main([str(bundle), "--batch", "1", "8"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Predictions:") and "Orin" in said
    assert main([str(bundle), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["prediction"] and 0 < row["step_ms"] <= row["step_ms_moved"] for row in rows)
    assert main([str(tmp_path)]) == 1
    assert "export" in capsys.readouterr().err


def test_the_method_is_held_against_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fake_bundle(tmp_path / "bundle")
    assert main([str(tmp_path / "bundle"), "--check", "--batch", "2", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert not row["prediction"] and row["measured_step_ms"] > row["step_ms"] > 0
