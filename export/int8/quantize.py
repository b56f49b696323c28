"""Convolutions in int8: quantize and dequantize nodes around them, in the form that each engine can fuse.

    model = quantize(load(fp32_bytes), ranges, {"down.0.0.conv0"}, ONNXRUNTIME)
    model = quantize(to_fp16(load(fp32_bytes)), ranges, {"down.0.0.conv0"}, TENSORRT)

Weights are symmetric int8 with one scale for each output channel (arXiv 1806.08342, section 3).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper

from export.int8.calibrate import Range
from export.onnx_edit import Array, add_constant, constants, conv_output, convolutions, copy_of, replace_nodes

LEVELS = 127
"""Of int8, without -128: symmetric, so that the zero point is 0."""

EXACT_LEVELS = 63
"""Of weights whose products fit everywhere: CPUs without VNNI add pairs of products in int16, and 2 * 255 * 63 fits."""


@dataclass(frozen=True)
class Scheme:
    """What an engine needs to see in order to run a convolution in int8."""

    activation: type[np.uint8] | type[np.int8]
    """uint8 with a zero point, or symmetric int8."""

    whole: bool
    """Whether bias (int32) and result are quantized as well, without which ONNX Runtime doesn't fuse."""

    opset: int
    """The oldest in which the graph can be written: scales of a graph in fp16 are fp16, too, from 19 on."""

    weight_levels: int = LEVELS
    """Largest weight; EXACT_LEVELS where every CPU has to decide alike, at half the precision of the weights."""


ONNXRUNTIME = Scheme(np.uint8, whole=True, opset=13)
"""Becomes QLinearConv, its ReLU included, since nothing below the zero point is left."""

ONNXRUNTIME_EXACT = replace(ONNXRUNTIME, weight_levels=EXACT_LEVELS)
"""The same result with and without VNNI."""

TENSORRT = Scheme(np.int8, whole=False, opset=19)
"""TensorRT takes symmetric int8 only, and its parser refuses an int32 bias."""


def quantize(
    model: onnx.ModelProto, ranges: Mapping[str, Range], names: Collection[str], scheme: Scheme
) -> onnx.ModelProto:
    """A copy in which the named convolutions read, and with ONNXRUNTIME write, quantized tensors."""
    quantized = copy_of(model)
    writer = _Writer(quantized.graph, scheme)
    results = {conv_output(quantized.graph, c): c.name for c in convolutions(quantized.graph) if c.name in names}
    for node in quantized.graph.node:
        writer.rename(node)
        if node.op_type == "Conv" and node.name in names:
            writer.convolution(node, ranges[node.name].input)
        writer.nodes.append(node)
        for name in node.output:
            if scheme.whole and name in results:
                writer.result(name, ranges[results[name]].output)
    replace_nodes(quantized.graph, writer.nodes)
    for opset in quantized.opset_import:
        if opset.domain == "":
            opset.version = max(opset.version, scheme.opset)
    return quantized


class _Writer:
    """Writes the nodes anew, in order."""

    def __init__(self, graph: onnx.GraphProto, scheme: Scheme) -> None:
        self.nodes: list[NodeProto] = []
        self._graph, self._scheme = graph, scheme
        self._constants = constants(graph)
        self._renamed: dict[str, str] = {}
        self._made: dict[str, npt.NDArray[Any]] = {}

    def rename(self, node: NodeProto) -> None:
        """Let a node read the quantized form of what is only there quantized."""
        for index, name in enumerate(node.input):
            node.input[index] = self._renamed.get(name, name)

    def convolution(self, node: NodeProto, input_range: tuple[float, float]) -> None:
        """Quantize input and weight of a convolution, and its bias where the scheme wants that."""
        weight = self._constants[node.input[1]]
        dtype = weight.dtype  # fp16 in a half graph: then scales and what is dequantized are fp16, too
        source = node.input[0].removesuffix(".dequantized")
        node.input[0], scale = self._activation(source, input_range, dtype)
        most = self._scheme.weight_levels
        scales = _scale(np.abs(weight).reshape(len(weight), -1).max(axis=1), most, dtype)
        levels = np.round(weight.astype(np.float32) / scales.astype(np.float32).reshape(-1, *[1] * (weight.ndim - 1)))
        integers = levels.clip(-most, most).astype(np.int8)
        node.input[1] = self._constant(node.input[1], integers, scales)
        if self._scheme.whole and len(node.input) > 2:  # the exporter leaves a bias of zeros out
            scales = scales * scale
            limits = np.iinfo(np.int32)
            levels = np.round(self._constants[node.input[2]] / scales).clip(limits.min, limits.max)
            node.input[2] = self._constant(node.input[2], levels.astype(np.int32), scales)

    def result(self, name: str, output_range: tuple[float, float]) -> None:
        """Quantize what a convolution ends in, for all who read it."""
        self._renamed[name], _ = self._activation(name, output_range, np.dtype(np.float32))

    def _activation(self, name: str, limits: tuple[float, float], dtype: np.dtype[Any]) -> tuple[str, npt.NDArray[Any]]:
        """Name of the tensor, quantized and dequantized, and its scale; made once for all who read it."""
        dequantized = f"{name}.dequantized"
        if name not in self._made:
            scale, zero = _activation_scale(limits, self._scheme.activation, dtype)
            parameters = [
                add_constant(self._graph, f"{name}.scale", scale),
                add_constant(self._graph, f"{name}.zero", zero),
            ]
            self._add("QuantizeLinear", [name, *parameters], f"{name}.quantized")
            self._add("DequantizeLinear", [f"{name}.quantized", *parameters], dequantized)
            self._made[name] = scale
        return dequantized, self._made[name]

    def _constant(self, name: str, integers: Array, scales: Array) -> str:
        """Name of a dequantized constant with one scale for each of its rows."""
        inputs = [
            add_constant(self._graph, f"{name}.quantized", integers),
            add_constant(self._graph, f"{name}.scale", scales),
            add_constant(self._graph, f"{name}.zero", np.zeros(len(integers), integers.dtype)),
        ]
        return self._add("DequantizeLinear", inputs, f"{name}.dequantized", axis=0)

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: int) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


def _activation_scale(limits: tuple[float, float], kind: type[Any], dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Scale and zero point; 0 is always a level, since it is what convolutions are padded with."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    if kind is np.int8:
        return _scale(np.array(max(-low, high)), LEVELS, dtype), np.array(0, np.int8)
    scale = _scale(np.array(high - low), 255, dtype)
    return scale, np.array(np.round(-low / scale).clip(0, 255), np.uint8)


def _scale(largest: Array, levels: int, dtype: np.dtype[Any]) -> Array:
    """largest / levels, 1 where all is zero, and never rounded to zero in fp16."""
    smallest = np.finfo(dtype).smallest_subnormal
    scale = np.maximum(np.asarray(largest, np.float64) / levels, smallest)
    return np.asarray(np.where(largest > 0, scale, 1.0), dtype=dtype)
