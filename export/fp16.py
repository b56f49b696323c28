"""The step graph in fp16: what the image passes through in half precision, what has to be exact in fp32.

    model = to_fp16(load(fp32_bytes))

The convolutions from the first to the last, and what is between them, are in half precision. Statistics of
normalisations, embedding path, guidance and DDIM update stay fp32, as do the graph's inputs and outputs. The precision
is in the graph, so that a strongly typed engine has no choice.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from export.onnx_edit import add_constant, constants, copy_of, image_path, replace_nodes

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16

EXACT = frozenset({"InstanceNormalization", "GroupNormalization", "LayerNormalization"})
"""A sum of squares leaves the range of fp16 (65504) soon, which ends in black frames."""

DATA_ONLY = frozenset({"Resize"})
"""Operators whose first input alone has the image's type: a Resize keeps its scales in fp32."""


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the image path in fp16 and casts at its borders; the types of all tensors have to be known."""
    typed = copy_of(model)
    graph = typed.graph
    floats = _tensors_of(graph, FLOAT)
    path = [node for node in image_path(graph) if node.op_type not in EXACT]
    halves = {name for node in path for name in node.output if name in floats}
    casts = _Casts(graph)
    inside = {id(node) for node in path}
    nodes: list[NodeProto] = []
    for node in graph.node:
        wants_half = id(node) in inside
        for index, name in enumerate(node.input):
            if name in floats and (name in halves) != wants_half and not _keeps_type(node, index):
                node.input[index] = casts.of(name, HALF if wants_half else FLOAT, nodes)
        nodes.append(node)
    replace_nodes(graph, nodes)
    for value in graph.value_info:
        if value.name in halves:
            value.type.tensor_type.elem_type = HALF
    return typed


class _Casts:
    """One cast of a tensor to a type, however many nodes read it; constants are cast here and now."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph, self._constants = graph, constants(graph)
        self._made: set[str] = set()

    def of(self, name: str, kind: int, nodes: list[NodeProto]) -> str:
        """Name of the cast tensor; where a node is needed for it, it is appended to `nodes`."""
        cast = f"{name}.{'half' if kind == HALF else 'float'}"
        if cast not in self._made:
            self._made.add(cast)
            if name in self._constants:
                add_constant(self._graph, cast, self._constants[name].astype(np.float16))
            else:
                nodes.append(helper.make_node("Cast", [name], [cast], name=cast, to=kind))
        return cast


def _tensors_of(graph: onnx.GraphProto, kind: int) -> set[str]:
    described = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    described |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name for name, found in described.items() if found == kind}


def _keeps_type(node: NodeProto, index: int) -> bool:
    return node.op_type in DATA_ONLY and index > 0
