"""Graphs in fp16 and int8: which tensors have which type, what an engine makes of them, and what they draw."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from contract import parity
from contract.bundle import FileEntry, Manifest, open_checked, read_manifest
from contract.errors import ParityError
from contract.parity import read_reference
from export import onnx_edit
from export.__main__ import main
from export.fp16 import FLOAT, HALF, to_fp16
from export.int8 import choose_layers
from export.int8.calibrate import CONDITIONS, IMAGE, SEED, Range, calibrate, scaled, starts
from export.int8.quantize import ONNXRUNTIME, TENSORRT, _activation_scale, quantize
from export.parity import QUICK, measure
from export.precisions import derive
from models.checkpoint import write_checkpoint
from tests.export.calm_checkpoint import calm_checkpoint
from tests.tiny_checkpoint import tiny_checkpoint, tiny_edge_checkpoint

Float64 = npt.NDArray[np.float64]

ROUNDING = 1e-5
"""Absolute, of values around 1 that two programs compute in float32."""

FP16_STEP = 2.0**-10
"""Distance of two neighbouring fp16 numbers from 1 to 2."""

SATURATING = 2
"""Convolutions of the calm network that a CPU without VNNI computes too coarsely in int8: there they stay in fp32."""

STEP_GRAPHS = ("step.fp32.onnx", "step.fp16.onnx", "step.int8.onnx", "step.int8-trt.onnx")


def _model(bundle: Path, name: str) -> onnx.ModelProto:
    return onnx.load_from_string(open_checked(bundle, read_manifest(bundle), name))


def _types(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    described = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    return described | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _run(model: onnx.ModelProto, **feeds: npt.NDArray[np.generic]) -> list[npt.NDArray[np.generic]]:
    """What the graph says, operator by operator: fused to integers, a CPU without VNNI may saturate."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def _kinds(model: onnx.ModelProto, path: Path) -> list[str]:
    """The operators that ONNX Runtime runs after its fusions."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(path), 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(path).graph.node]


def test_the_interface_is_the_same_in_every_precision(calm_bundle: Path) -> None:
    expected = _model(calm_bundle, "step.fp32.onnx")
    for name in STEP_GRAPHS:
        model = _model(calm_bundle, name)
        onnx.checker.check_model(model, full_check=True)
        assert list(model.graph.input) == list(expected.graph.input)
        assert list(model.graph.output) == list(expected.graph.output)
        assert list(model.metadata_props) == list(expected.metadata_props)


def test_half_is_what_the_image_passes_through_and_nothing_else(calm_bundle: Path) -> None:
    model = _model(calm_bundle, "step.fp16.onnx")
    types = _types(model)
    convolutions = onnx_edit.convolutions(model.graph)
    assert len(convolutions) == 16
    for node in convolutions:
        assert [types[name] for name in (*node.input, *node.output)] == [HALF] * 4, node.name
    exact = {"InstanceNormalization", "Gemm", "Sigmoid", "Clip", "Round", "Gather"}
    for node in model.graph.node:
        if node.op_type in exact:
            assert HALF not in [types[name] for name in (*node.input, *node.output)], node.name
    assert exact <= {node.op_type for node in model.graph.node}
    stored = {tensor.name for tensor in model.graph.initializer if tensor.data_type == HALF}
    assert all(node.input[1] in stored for node in convolutions), "weights are stored as they are used"
    assert "coefficients" in types and types["coefficients"] == FLOAT


def _normalising_model(scale: float) -> onnx.ModelProto:
    """conv (times `scale`) -> normalisation -> conv, 1 x 1 each, with its group statistics in between."""
    values = {"w0": np.full((1, 1, 1, 1), scale), "w1": np.ones((1, 1, 1, 1)), "bias": np.zeros(1), "one": np.ones(1)}
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w0", "bias"], ["h"], name="first"),
        helper.make_node("InstanceNormalization", ["h", "one", "bias"], ["n"]),
        helper.make_node("Conv", ["n", "w1", "bias"], ["h2"], name="last"),
        helper.make_node("Identity", ["h2"], ["y"]),
    ]
    sides = [1, 1, 8, 8]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sides) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def test_statistics_survive_what_would_overflow_in_half() -> None:
    x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    model = _normalising_model(1000.0)  # its squares, up to 1e6, are beyond 65504
    typed = to_fp16(model)
    onnx.checker.check_model(typed, full_check=True)
    (found,), (expected,) = _run(typed, x=x), _run(model, x=x)
    assert expected.std() > 0.9
    assert np.abs(found - expected).max() < 4 * FP16_STEP  # three roundings to fp16 of values below 2


def _relu_model() -> tuple[onnx.ModelProto, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """x [1, 2, 4, 4] -> conv 3x3 -> ReLU -> y, and the convolution's weight and bias."""
    generator = np.random.default_rng(5)
    weight, bias = generator.normal(size=(3, 2, 3, 3)).astype(np.float32), generator.normal(size=3).astype(np.float32)
    constants = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["h"], name="c", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, c, 4, 4]) for n, c in (("x", 2), ("y", 3))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), weight, bias


def _rounded(value: Float64, scale: float, zero: float, low: int, high: int) -> Float64:
    return (np.clip(np.round(value / scale) + zero, low, high) - zero) * scale


def _convolved(x: Float64, weight: Float64, bias: Float64) -> Float64:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.maximum(np.einsum("bchwij,ocij->bohw", windows, weight) + bias[:, None, None], 0.0)


@pytest.mark.parametrize("biased", [True, False], ids=["biased", "unbiased"])
@pytest.mark.parametrize("scheme", [ONNXRUNTIME, TENSORRT], ids=["onnxruntime", "tensorrt"])
def test_a_quantized_convolution_is_what_the_formula_says(scheme: object, biased: bool) -> None:
    model, weight, bias = _relu_model()
    if not biased:  # the exporter leaves a bias of zeros out
        bias = np.zeros_like(bias)
        model.graph.node[0].input.pop()
    x = np.random.default_rng(6).uniform(-1, 3, (1, 2, 4, 4)).astype(np.float32)
    ranges = {"c": Range((-1.0, 3.0), (0.0, 8.0))}
    model.graph.output[0].name = "out"
    model.graph.node.append(helper.make_node("Identity", ["y"], ["out"]))
    (found,) = _run(quantize(model, ranges, {"c"}, scheme), x=x)  # type: ignore[arg-type]
    scales = np.abs(weight).reshape(3, -1).max(axis=1) / 127
    levels = np.round(weight / scales[:, None, None, None]) * scales[:, None, None, None]
    if scheme is TENSORRT:
        expected = _convolved(_rounded(x.astype(np.float64), 3 / 127, 0, -127, 127), levels, bias.astype(np.float64))
        assert np.abs(found - expected).max() < ROUNDING
    else:
        zero = np.round(1 / (4 / 255))
        seen = _rounded(x.astype(np.float64), 4 / 255, zero, 0, 255)
        stored = np.round(bias / (scales * 4 / 255)) * (scales * 4 / 255)
        expected = _rounded(_convolved(seen, levels, stored), 8 / 255, 0, 0, 255)
        wrong = np.abs(found - expected) > ROUNDING
        assert wrong.mean() < 0.05 and np.abs(found - expected).max() < 8 / 255 + ROUNDING  # a tie may round either way


def test_int8_for_onnxruntime_is_fused(calm_bundle: Path, tmp_path: Path) -> None:
    entry = read_manifest(calm_bundle).files["step.int8.onnx"]
    kinds = _kinds(_model(calm_bundle, "step.int8.onnx"), tmp_path / "optimized.onnx")
    floats = entry.extra["float_convolutions"]
    assert len(entry.extra["sensitivity"]) == 16 and len(floats) <= SATURATING
    assert sum(kind == "QLinearConv" for kind in kinds) == 16 - len(floats)
    assert sum(kind in ("Conv", "FusedConv") for kind in kinds) == len(floats)
    ends = read_manifest(calm_bundle).files["step.int8-trt.onnx"].extra["float_convolutions"]
    assert {"stem", "out"} <= set(ends) <= {"stem", "out", *floats}, "which TensorRT keeps in fp16"
    plain = [node.op_type for node in _model(calm_bundle, "step.fp32.onnx").graph.node]
    assert kinds.count("Relu") < plain.count("Relu") / 2, "a ReLU in front of int8 is its zero point"


def test_the_image_s_own_range_is_all_that_its_levels_cover() -> None:
    """-1, 0 and 1 are levels, and nothing beyond 1 takes more than one of them."""
    scale, zero = _activation_scale(IMAGE, np.uint8, np.dtype(np.float32))
    levels = (np.arange(256) - float(zero)) * float(scale)
    for value in (-1.0, 0.0, 1.0):
        assert np.abs(levels - value).min() < 1e-6
    assert levels[0] == pytest.approx(-1.0) and (levels > 1.0 + 1e-6).sum() == 1


def test_int8_for_tensorrt_has_no_integer_bias(calm_bundle: Path) -> None:
    model = _model(calm_bundle, "step.int8-trt.onnx")
    types = _types(model)
    made, constants = {node.output[0]: node for node in model.graph.node}, onnx_edit.constants(model.graph)
    floats = read_manifest(calm_bundle).files["step.int8-trt.onnx"].extra["float_convolutions"]
    body = [node for node in onnx_edit.convolutions(model.graph) if node.name not in floats]
    assert len(body) >= 14 - SATURATING
    for node in body:
        assert [made[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
        quantized = [made[name] for name in node.input[:2]]
        assert [types[source.input[0]] for source in quantized] == [TensorProto.INT8] * 2
        assert types[node.input[2]] == HALF
        assert constants[quantized[1].input[1]].shape == constants[node.input[2]].shape, "a scale for each channel"
    zeros = [value for name, value in constants.items() if name.endswith(".zero")]
    assert zeros and not any(value.any() for value in zeros), "symmetric"
    assert not [name for name, value in constants.items() if value.dtype == np.int32]


def test_ranges_are_those_of_the_sampler_s_own_trajectories(calm_bundle: Path) -> None:
    manifest = read_manifest(calm_bundle)
    model = onnx_edit.load(open_checked(calm_bundle, manifest, "step.fp32.onnx"))
    found = calibrate(model, manifest)
    x, condition, steps = starts(manifest, scaled(CONDITIONS, manifest))
    assert len(x) == 32 and steps == 4
    low, high = 0.0, 0.0
    for step in range(steps):
        low, high = min(low, float(x.min())), max(high, float(x.max()))
        x = _run(model, x=x, condition=condition, step=np.array(step))[0]
    assert np.allclose(found["stem"].input, (low, high), atol=ROUNDING)
    assert found["down.0.0.conv0"].output[0] == 0.0 < found["down.0.0.conv0"].output[1], "behind its ReLU"
    assert found["down.0.0.conv0"].output == found["down.0.0.conv1"].input
    assert set(found) == {node.name for node in onnx_edit.convolutions(model.graph)}


def test_calibration_draws_other_frames_than_the_reference(calm_bundle: Path) -> None:
    manifest = read_manifest(calm_bundle)
    assert read_reference(calm_bundle, manifest).seed != SEED
    conditions = starts(manifest, 32).conditions
    assert len({row.tobytes() for row in conditions}) == 32
    assert np.array_equal(conditions, starts(manifest, 32).conditions), "seeded"


def test_the_most_harmful_convolutions_stay_in_higher_precision() -> None:
    found = {"a": 40.0, "b": 20.0, "c": 60.0, "d": 36.0}
    # Errors relative to the peak: 1e-4, 1e-2, 1e-6, 2.5e-4.
    assert choose_layers.choose(found, 30.0) == ["a", "c", "d"]
    assert choose_layers.choose(found, 36.5) == ["a", "c"]
    assert choose_layers.choose(found, 50.0) == ["c"]
    assert choose_layers.choose(found, 10.0) == ["a", "b", "c", "d"]
    assert choose_layers.choose(found, 70.0) == []


def test_the_sweep_tells_each_convolution_by_itself(calm_bundle: Path) -> None:
    manifest = read_manifest(calm_bundle)
    model = onnx_edit.load(open_checked(calm_bundle, manifest, "step.fp32.onnx"))
    ranges = calibrate(model, manifest)
    narrow = {**ranges, "middle.conv0": Range((0.0, 0.01), (0.0, 0.01))}
    usual, found = choose_layers.sweep(model, ranges, manifest), choose_layers.sweep(model, narrow, manifest)
    assert found["middle.conv0"] < usual["middle.conv0"] - 10
    assert all(found[name] == usual[name] for name in found if name not in ("middle.conv0", "middle.conv1"))


def test_the_manifest_tells_what_was_measured(calm_bundle: Path) -> None:
    manifest = read_manifest(calm_bundle)
    parity = manifest.parity
    assert set(parity) == set(STEP_GRAPHS)
    assert parity["step.fp32.onnx"]["metric"] == "max_abs_difference_of_255"
    assert parity["step.fp32.onnx"]["measured"] <= 1 and "emulated" not in parity["step.fp32.onnx"]
    for name, limit, emulated in (("fp16", 40, True), ("int8", 30, False), ("int8-trt", 30, True)):
        entry = parity[f"step.{name}.onnx"]
        assert (entry["metric"], entry["tolerance"]) == ("pooled_psnr_db", limit) and entry["measured"] >= limit
        assert entry.get("emulated", False) is emulated and entry["conditions"] == 32 and entry["batches"] == [8, 1, 3]
    assert parity["step.fp16.onnx"]["also"]["worst_psnr_db"]["tolerance"] == 30
    assert parity["step.int8.onnx"]["also"]["fifth_percentile_psnr_db"]["tolerance"] == 24
    own, trt = manifest.files["step.int8.onnx"].extra, manifest.files["step.int8-trt.onnx"].extra
    assert "for" not in own and trt["for"] == "tensorrt" and own["calibration"] == {"conditions": 32, "seed": SEED}


def test_the_same_graph_gives_the_same_bytes(calm_bundle: Path) -> None:
    manifest = read_manifest(calm_bundle)
    base = open_checked(calm_bundle, manifest, "step.fp32.onnx")
    for precision in ("fp16", "int8"):
        for made in derive(precision, base, manifest):
            assert made.entry.sha256 == manifest.files[made.name].sha256


def test_the_document_s_network_in_every_precision(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "doc.pt", tiny_checkpoint())
    assert main([str(tmp_path / "doc.pt"), "-o", str(tmp_path / "b"), "--steps", "4", "--precision", "fp16"]) == 0
    assert sorted(os.listdir(tmp_path / "b")) == ["manifest.json", "reference.npz", "step.fp16.onnx"]
    types = _types(_model(tmp_path / "b", "step.fp16.onnx"))
    model = _model(tmp_path / "b", "step.fp16.onnx")
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    assert [(types[n.output[0]], types[n.input[2]]) for n in resizes] == [(HALF, FLOAT)] * 3, "scales stay as they are"


def test_a_network_that_int8_ruins_gets_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "wild.pt", tiny_edge_checkpoint())
    assert main([str(tmp_path / "wild.pt"), "-o", str(tmp_path / "b"), "--precision", "fp32", "int8"]) == 1
    error = capsys.readouterr().err
    assert "int8: only 0 of 16 convolutions" in error and error.count("\n") == 1
    assert os.listdir(tmp_path) == ["wild.pt"]


def test_a_missed_gate_names_the_worst_condition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(parity.GATES, "fp16", (("pooled_psnr_db", 40), ("worst_psnr_db", 99.5)))
    write_checkpoint(tmp_path / "calm.pt", calm_checkpoint())
    assert main([str(tmp_path / "calm.pt"), "-o", str(tmp_path / "b"), "--precision", "fp32", "fp16"]) == 1
    error = capsys.readouterr().err
    assert "step.fp16.onnx differs from torch: worst_psnr_db " in error and "expected at least 99.5" in error
    assert "the worst is condition" in error and "lighting=" in error and error.count("\n") == 1
    assert os.listdir(tmp_path) == ["calm.pt"]


def test_frames_of_nan_are_seen(calm_bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(calm_bundle)
    model = _model(calm_bundle, "step.fp16.onnx")
    bias = next(t for t in model.graph.initializer if t.name == onnx_edit.convolutions(model.graph)[-1].input[2])
    bias.CopyFrom(numpy_helper.from_array(np.full_like(numpy_helper.to_array(bias), np.nan), bias.name))
    content = onnx_edit.save(model)
    (tmp_path / "step.fp16.onnx").write_bytes(content)
    files = {"step.fp16.onnx": FileEntry(hashlib.sha256(content).hexdigest(), "fp16")}
    broken = Manifest(manifest.image, manifest.schema, manifest.sampler, files)
    reference = read_reference(calm_bundle, manifest)
    with pytest.raises(ParityError, match="48 frames of one colour, as NaN is drawn"):
        measure(tmp_path, broken, "step.fp16.onnx", reference, QUICK, lambda count: None)
