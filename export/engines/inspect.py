"""Is every convolution in the requested precision? In the network before a build, in the engine after it.

    check_network(trt, network, "int8", kept)          # ParityError names the first that isn't
    report = inspect_engine(information, names, "int8")

An exporter that says fp16 and ships fp32 is the most reported failure of its kind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from contract.errors import ParityError

TENSOR_TYPES = {"fp32": "FLOAT", "fp16": "HALF", "int8": "HALF"}
"""What convolutions of the body read and write in a strongly typed network; in int8 from a dequantize layer."""

WORDS = {"fp32": ("float", "fp32", "tf32"), "fp16": ("half", "fp16"), "int8": ("int8",)}
"""How the engine inspector names the type of a convolution's input."""

_LAYER = re.compile(r"\[ONNX Layer: ([^\]]+)\]")


def check_network(trt: Any, network: Any, precision: str, kept: Collection[str]) -> list[str]:
    """Names of the convolutions in this precision; ParityError where one of the body isn't.

    `kept` are those that stay in higher precision; the first and the last, at the image, aren't checked.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    makers = {layer.get_output(i).name: layer.type for layer in layers for i in range(layer.num_outputs)}
    convolutions = [layer for layer in layers if layer.type == trt.LayerType.CONVOLUTION]
    wanted = getattr(trt.DataType, TENSOR_TYPES[precision])
    body = [layer for layer in convolutions[1:-1] if layer.name not in kept]
    if not body:
        raise ParityError(f"no convolution of the network would run in {precision}; nothing was built")
    for layer in body:
        for tensor in (layer.get_input(0), layer.get_output(0)):
            if tensor.dtype != wanted:
                raise ParityError(
                    f"convolution {layer.name}: {tensor.name} is {tensor.dtype.name}, expected {wanted.name} for"
                    f" {precision}; nothing was built"
                )
        if precision == "int8" and not _dequantized(trt, layer, makers):
            raise ParityError(
                f"convolution {layer.name}: input and weight aren't dequantized, expected int8; nothing was built"
            )
    return [layer.name for layer in body]


def _dequantized(trt: Any, layer: Any, makers: dict[str, Any]) -> bool:
    inputs = [layer.get_input(index) for index in range(min(2, layer.num_inputs))]
    named = [makers.get(tensor.name) for tensor in inputs if tensor is not None]
    return named == [trt.LayerType.DEQUANTIZE] * 2


def inspect_engine(information: str, names: Collection[str], precision: str) -> dict[str, Any]:
    """What the engine inspector's JSON says of these convolutions: `{"inspected": true, "convolutions": 33}`.

    ParityError where one of them reads another type. Convolutions that TensorRT has fused beyond recognition aren't
    counted; where none is left to look at, `inspected` is false.
    """
    seen = []
    for layer in _layers(information):
        own = set(names).intersection(_onnx_names(layer))
        types = [_type_of(tensor) for tensor in layer.get("Inputs", []) if isinstance(tensor, dict)]
        if not own or not types or "conv" not in str(layer.get("LayerType", "")).lower():
            continue
        if not any(word in types[0] for word in WORDS[precision]):
            raise ParityError(
                f"engine: convolution {sorted(own)[0]} reads {types[0] or 'nothing'}, expected {precision};"
                " nothing was written"
            )
        seen += sorted(own)
    if not seen:
        return {"inspected": False, "reason": "the engine inspector shows no convolution by itself"}
    return {"inspected": True, "convolutions": len(seen)}


def _layers(information: str) -> list[dict[str, Any]]:
    try:
        data = json.loads(information)
    except ValueError:
        return []
    layers = data.get("Layers", []) if isinstance(data, dict) else data
    return [layer for layer in layers if isinstance(layer, dict)]


def _onnx_names(layer: dict[str, Any]) -> list[str]:
    """Names of the graph's nodes in a layer: from its metadata, or else from its name, `a + b`."""
    return _LAYER.findall(str(layer.get("Metadata", ""))) or str(layer.get("Name", "")).split(" + ")


def _type_of(tensor: dict[str, Any]) -> str:
    """In small letters; 10.x has one field for format and type, 11 has two."""
    return " ".join(str(tensor[key]) for key in ("Format/Datatype", "DataType", "Format") if key in tensor).lower()
