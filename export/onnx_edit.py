"""Edits of an ONNX graph, by which the graphs of other precisions are made without torch.

    graph = copy_of(model).graph
    for convolution in convolutions(graph): ...

Every edit keeps the nodes in topological order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, numpy_helper

Array = npt.NDArray[Any]

NEUTRAL = {"Mul": 1.0, "Add": 0.0}
"""The constant with which an operator does nothing."""


def load(content: bytes) -> onnx.ModelProto:
    """A step graph of this project, its convolutions named after their weights (`down.0.0.conv0`)."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    drop_noops(model.graph)
    for node in convolutions(model.graph):
        node.name = node.input[1].removeprefix("network.").removesuffix(".weight")
    return model


def save(model: onnx.ModelProto) -> bytes:
    """The checked file; the same model gives the same bytes."""
    prune(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that can be changed without changing the first."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def convolutions(graph: onnx.GraphProto) -> list[NodeProto]:
    """The convolutions in the order in which they run: the first reads the image, the last writes it."""
    return [node for node in graph.node if node.op_type == "Conv"]


def image_path(graph: onnx.GraphProto) -> list[NodeProto]:
    """The nodes between the first and the last convolution, both included, in their order."""
    every = convolutions(graph)
    downstream, reached = [], {every[0].output[0]}
    for node in graph.node:
        if node is every[0] or reached.intersection(node.input):
            reached.update(node.output)
            downstream.append(node)
    return needed(downstream, {every[-1].output[0]})


def conv_output(graph: onnx.GraphProto, convolution: NodeProto) -> str:
    """The tensor that a convolution produces: the output of its ReLU where that is its only reader, else its own."""
    readers = [node for node in graph.node if convolution.output[0] in node.input]
    alone = len(readers) == 1 and readers[0].op_type == "Relu"
    return str(readers[0].output[0] if alone else convolution.output[0])


def constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """Every initializer by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def add_constant(graph: onnx.GraphProto, name: str, value: Array) -> str:
    """Add an initializer, and return its name."""
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def replace_nodes(graph: onnx.GraphProto, nodes: list[NodeProto]) -> None:
    """Give the graph these nodes instead of its own."""
    del graph.node[:]
    graph.node.extend(nodes)


def needed(nodes: Sequence[NodeProto], outputs: Collection[str]) -> list[NodeProto]:
    """The nodes that the outputs depend on, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def prune(graph: onnx.GraphProto) -> None:
    """Remove the initializers that no node reads and the descriptions of tensors that are gone."""
    used = {name for node in graph.node for name in node.input}
    made = {name for node in graph.node for name in node.output}
    for field, names in ((graph.initializer, used), (graph.value_info, made)):
        kept = [entry for entry in field if entry.name in names]
        del field[:]
        field.extend(kept)


def drop_noops(graph: onnx.GraphProto) -> None:
    """Remove multiplications by one and additions of zero, which the exporter adds after each normalisation."""
    values = constants(graph)
    sides = {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in graph.value_info}
    outputs = {value.name for value in graph.output}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        value = values.get(node.input[1]) if node.op_type in NEUTRAL else None
        if (
            value is not None
            and node.output[0] not in outputs
            and _changes_nothing(node, value, sides.get(node.input[0], []))
        ):
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    replace_nodes(graph, kept)


def _changes_nothing(node: NodeProto, value: Array, sides: list[int]) -> bool:
    neutral = bool((value == NEUTRAL[node.op_type]).all()) and value.ndim <= len(sides)
    same_shape = all(a in (1, b) for a, b in zip(reversed(value.shape), reversed(sides), strict=False))
    return neutral and same_shape
