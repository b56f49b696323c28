"""All K steps of a step graph as one ONNX graph: noise and condition in, frame out, every weight once.

    content = trajectory(Path("bundle/step.fp32.onnx").read_bytes(), steps=4)

The exporter writes it as a file and the OpenVINO backend compiles it. Graphs are edited as protocol buffers
(onnx.proto3 names the fields), since a vehicle has no onnx package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

NOISE, FRAME = "noise", "frame"

STEP_MARK = "@"
"""Stands before the number of the step at the end of a name: `Conv_3@0`, `Conv_3@1`."""

MODEL_GRAPH = 7
NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO = 1, 5, 11, 12, 13
NODE_INPUT, NODE_OUTPUT, NODE_NAME = 1, 2, 3
TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW = 2, 8, 9
VALUE_NAME = 1
INT64 = 7
"""Numbers of fields and of a type in onnx.proto3."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protocol buffers."""

Field = tuple[int, int, bytes]
"""Number, wire type, and value: of BYTES without the length, of the others as they are stored."""


def trajectory(step: bytes, steps: int, decoder: bytes | None = None) -> bytes:
    """The graph that runs a step graph `steps` times: inputs `noise` and `condition`, output `frame`.

    A step graph without `frame` works on latents; `decoder`, from `latent` to `frame`, then makes the frames.
    """
    model = list(read(step))
    graph = list(read(_one(model, MODEL_GRAPH)))
    weights = {_name(value, TENSOR_NAME) for number, _, value in graph if number == INITIALIZER}
    nodes, numbers, x = [], [], NOISE
    for k in range(steps):
        names = {"x": x, "condition": "condition", "step": f"step{STEP_MARK}{k}"} | {name: name for name in weights}
        numbers.append(_number(names["step"], k))
        nodes += [_rename(value, _marked(names, k)) for number, _, value in graph if number == NODE]
        x = f"x_next{STEP_MARK}{k}"
    last, tensors = f"{FRAME}{STEP_MARK}{steps - 1}", [field for field in graph if field[0] == INITIALIZER]
    output = [value for number, _, value in graph if number == OUTPUT and _name(value, VALUE_NAME) == FRAME]
    if decoder is not None:
        last, more = _decode(list(read(_one(list(read(decoder)), MODEL_GRAPH))), x, nodes)
        tensors, output = [*tensors, *more[:-1]], [more[-1][2]]
    nodes = _needed(nodes, last)
    nodes = [_rename(node, lambda name: FRAME if name == last else name) for node in nodes]
    inputs = [value for number, _, value in graph if number == INPUT and _name(value, VALUE_NAME) != "step"]
    kept = [field for field in graph if field[0] not in (NODE, INITIALIZER, INPUT, OUTPUT, VALUE_INFO)]
    whole = [
        *((NODE, BYTES, node) for node in nodes),
        *kept,
        *tensors,
        *((INITIALIZER, BYTES, number) for number in numbers),
        *((INPUT, BYTES, _set_name(value, {"x": NOISE})) for value in inputs),
        *((OUTPUT, BYTES, value) for value in output),
    ]
    return write([(n, kind, write(whole) if n == MODEL_GRAPH else value) for n, kind, value in model])


def read(message: bytes) -> Iterator[Field]:
    """The fields of a message in their order."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == BYTES:
            size, at = _varint(message, at)
        else:
            size = {FIXED64: 8, FIXED32: 4}.get(kind) or _varint(message, at)[1] - at
        yield number, kind, message[at : at + size]
        at += size


def write(fields: list[Field]) -> bytes:
    """The message that has these fields."""
    parts: list[bytes] = []
    for number, kind, value in fields:
        parts += [_as_varint(number << 3 | kind), _as_varint(len(value)) if kind == BYTES else b"", value]
    return b"".join(parts)


def _decode(graph: list[Field], x: str, nodes: list[bytes]) -> tuple[str, list[Field]]:
    """Append the decoder's nodes; the name of its frame, then its weights and the description of its output."""

    def rename(name: str) -> str:
        return x if name == "latent" else f"decoder/{name}" if name else ""

    nodes += [_rename(value, rename) for number, _, value in graph if number == NODE]
    tensors: list[Field] = []
    for number, kind, value in graph:
        if number == INITIALIZER:
            name = _name(value, TENSOR_NAME)
            fields = [(n, k, rename(name).encode() if n == TENSOR_NAME else v) for n, k, v in read(value)]
            tensors.append((INITIALIZER, kind, write(fields)))
    output = next(field for field in graph if field[0] == OUTPUT)
    return f"decoder/{FRAME}", [*tensors, output]


def _marked(names: Mapping[str, str], step: int) -> Callable[[str], str]:
    return lambda name: names.get(name) or (f"{name}{STEP_MARK}{step}" if name else "")


def _rename(node: bytes, rename: Callable[[str], str]) -> bytes:
    """A node with other names of its inputs and outputs, and of itself."""
    named = (NODE_INPUT, NODE_OUTPUT, NODE_NAME)
    return write([(n, kind, rename(v.decode()).encode() if n in named else v) for n, kind, v in read(node)])


def _needed(nodes: list[bytes], output: str) -> list[bytes]:
    """The nodes that an output depends on, in their order: earlier steps need no frame."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        fields = list(read(node))
        if any(number == NODE_OUTPUT and value.decode() in wanted for number, _, value in fields):
            wanted.update(value.decode() for number, _, value in fields if number == NODE_INPUT)
            kept.append(node)
    return kept[::-1]


def _number(name: str, value: int) -> bytes:
    """A scalar int64 tensor."""
    raw = np.array(value, "<i8").tobytes()
    return write(
        [(TENSOR_TYPE, VARINT, _as_varint(INT64)), (TENSOR_NAME, BYTES, name.encode()), (TENSOR_RAW, BYTES, raw)]
    )


def _set_name(value: bytes, names: Mapping[str, str]) -> bytes:
    fields = list(read(value))
    return write([(n, k, names.get(v.decode(), v.decode()).encode() if n == VALUE_NAME else v) for n, k, v in fields])


def _one(fields: list[Field], number: int) -> bytes:
    return next(value for n, _, value in fields if n == number)


def _name(message: bytes, number: int) -> str:
    return next((value.decode() for n, _, value in read(message) if n == number), "")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, low bits first, and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _as_varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
