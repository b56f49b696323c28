"""What a step graph computes and moves, layer by layer, and where ONNX Runtime spends its time on it.

layers = read_layers(Path("bundle/step.fp32.onnx"), batch=8)       # operations, bytes, intensity
seconds = operator_seconds(Path("bundle/step.int8.onnx"), manifest, batch=8)
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from contract.bundle import Manifest

RUNS, WARM = 20, 3


@dataclass(frozen=True)
class Layer:
    """One node of a graph for a whole batch."""

    name: str
    kind: str
    operations: float
    """Multiplications and additions; a convolution needs none where its kernel lies outside the frame."""
    weights: int
    """Numbers that are read once, whatever the batch."""
    activations: int
    """Numbers that are read and written."""

    def bytes(self, of_weight: float, of_activation: float) -> float:
        return self.weights * of_weight + self.activations * of_activation


def read_layers(path: Path, batch: int) -> list[Layer]:
    """The nodes of a step graph that touch an image or a weight, in their order; shapes as the graph knows them."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_value = batch
    del model.graph.value_info[:]
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    weights = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        shapes[value.name] = [side.dim_value or batch for side in value.type.tensor_type.shape.dim]
    return [_layer(node, shapes, weights) for node in model.graph.node if node.output[0] in shapes]


def _layer(node: onnx.NodeProto, shapes: dict[str, list[int]], weights: dict[str, int]) -> Layer:
    sizes = {name: int(np.prod(shapes[name])) for name in (*node.input, *node.output) if name in shapes}
    written = sum(sizes[name] for name in node.output if name in sizes)
    operations = float(written)
    if node.op_type == "Conv":
        rows, channels = shapes[node.input[0]][0], shapes[node.input[1]][:2]
        operations = 2.0 * rows * float(np.prod(channels)) * _taps(node, shapes)
    elif node.op_type in ("Gemm", "MatMul"):
        operations = 2.0 * written * shapes[node.input[0]][-1]
    read = sum(sizes[name] for name in set(node.input) if name in sizes and name not in weights)
    constant = sum(weights[name] for name in set(node.input) if name in weights)
    return Layer(node.name or node.output[0], node.op_type, operations, constant, read + written)


def _taps(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> float:
    """Pixels that the kernel touches at all its places together."""
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    sides, kernel = shapes[node.input[0]][2:], shapes[node.input[1]][2:]
    strides, pads = given.get("strides", [1, 1]), given.get("pads", [0] * 4)
    taps = 1.0
    for side, width, stride, pad, places in zip(sides, kernel, strides, pads, shapes[node.output[0]][2:], strict=False):
        first = np.arange(places) * stride - pad
        taps *= float((np.minimum(first + width, side) - np.maximum(first, 0)).sum())
    return taps


def operator_seconds(path: Path, manifest: Manifest, batch: int) -> dict[str, float]:
    """Seconds of one step by the kind of operator, from ONNX Runtime's own profile; the largest first.

    Of a session of one thread, as every core runs one on its own share of a batch.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling, options.log_severity_level = True, 4
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        stream = np.random.default_rng(0)
        feeds = {
            "x": stream.standard_normal((batch, *manifest.image)).astype(np.float32),
            "condition": np.zeros((batch, manifest.schema.width), np.float32),
            "step": np.array(0),
        }
        for _ in range(RUNS + WARM):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    seconds: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            runs[event["name"]] += 1
            if runs[event["name"]] > WARM:
                seconds[event["args"]["op_name"]] += event["dur"] / 1e6 / RUNS
    return dict(seconds.most_common())
