"""A bundle of a few KB with a real step graph, so that runtime tests need neither torch nor training.

    python -m tests.fake_bundle build/fake

The graph is DDIM proper over an x0 "network" that can be written by hand: every slot of the condition vector
paints its own pattern onto the rows of the picture, and a 3x3 blur of x is mixed in, so that noise, condition,
step and neighbouring pixels all reach the frame. `expected_frames` says the same thing in numpy, in fp64.

Its annotator reads the condition back from the rows of the picture, by a regression on frames of other seeds; the
noise makes it err now and then, as a real one does. `expected_annotation` is the same in numpy.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract.annotation import Annotation, class_fields
from contract.bundle import FileEntry, Manifest, Sampler, write_manifest
from contract.conditions import Schema
from contract.frames import ImageShape
from contract.noise import initial_noises
from contract.schedule import ddim_coefficients, trailing
from contract.schemas import CABIN

IMAGE = ImageShape(3, 16, 16)
STEPS = 3
TIMESTEPS = 1000
MIX = 0.25
"""Share of the blurred x in the predicted image."""

SHARPNESS = 4.0
"""How sure the annotator is: logits for each unit of squared distance from a class's code."""

LANDMARKS = ("left", "right")
FITTED = 600
"""Frames that the annotator is fitted to."""

Frames = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]


def write_fake_bundle(
    folder: Path,
    schema: Schema = CABIN,
    image: ImageShape = IMAGE,
    steps: int = STEPS,
    references: int = 4,
    annotator: bool = False,
) -> Manifest:
    """Write the whole bundle: step graph, reference frames, manifest, and an annotator where it is asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    sampler = fake_sampler(steps)
    contents = {
        "step.fp32.onnx": step_graph(schema.width, image, sampler),
        "reference.npz": _reference(schema, image, sampler, references),
    }
    if annotator:
        contents["annotator.onnx"] = annotator_graph(schema, image, fit_annotator(schema, image, sampler))
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    precisions = {"step.fp32.onnx": "fp32", "annotator.onnx": "fp32"}
    about = {"annotator.onnx": {"landmarks": list(LANDMARKS), "features": image.height * image.channels}}
    files = {
        n: FileEntry(hashlib.sha256(c).hexdigest(), precisions.get(n), about.get(n, {})) for n, c in contents.items()
    }
    parity = {
        "step.fp32.onnx": {
            "metric": "max_abs_difference_of_255",
            "tolerance": 1,
            "measured": 0,
            "conditions": references,
        }
    }
    source = {"checkpoint": "0" * 64, "lineage": {"epsilon": None, "delta": None}}
    manifest = Manifest(image, schema, sampler, files, parity, source)
    write_manifest(folder, manifest)
    return manifest


def fake_sampler(steps: int) -> Sampler:
    """Trailing timesteps of a plain cosine that ends in pure noise."""
    alpha_bar = np.cos(np.arange(1, TIMESTEPS + 1) / TIMESTEPS * np.pi / 2) ** 2
    alpha_bar[-1] = 0.0
    timesteps = trailing(TIMESTEPS, steps)
    return Sampler(tuple(timesteps.tolist()), tuple(alpha_bar[timesteps].tolist()), "x0")


def step_graph(width: int, image: ImageShape, sampler: Sampler, **changes: Any) -> bytes:
    """The ONNX step graph; `changes` (`steps`, `batch`) make it disagree with the contract."""
    channels, height, _ = image
    batch = changes.get("batch", "batch")
    x = [batch, channels, height, image.width]
    coefficients = ddim_coefficients(np.asarray(sampler.alpha_bar), sampler.prediction)
    constants = {
        "table": coefficients.astype(np.float32),
        "paint": paint(width, image).reshape(width, -1).astype(np.float32),
        "rows": np.array([-1, channels, height, 1]),
        "blur": _blur_kernel(channels),
        "mix": np.float32(MIX),
        "low": np.float32(-1),
        "high": np.float32(1),
        "half": np.float32(127.5),
    }
    model = helper.make_model(
        helper.make_graph(
            _nodes(),
            "step",
            [
                helper.make_tensor_value_info("x", TensorProto.FLOAT, x),
                helper.make_tensor_value_info("condition", TensorProto.FLOAT, [batch, width]),
                helper.make_tensor_value_info("step", TensorProto.INT64, []),
            ],
            [
                helper.make_tensor_value_info("x_next", TensorProto.FLOAT, x),
                helper.make_tensor_value_info("frame", TensorProto.UINT8, [batch, height, image.width, channels]),
            ],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    helper.set_model_props(model, {"steps": str(changes.get("steps", sampler.steps))})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def expected_frames(
    conditions: npt.NDArray[np.float32],
    seed: int,
    image: ImageShape = IMAGE,
    sampler: Sampler | None = None,
    start: int = 0,
    attempts: Sequence[int] | None = None,
) -> Frames:
    """What the graph draws for encoded conditions [N, D], in numpy and fp64; uint8 [N, H, W, C]."""
    sampler = sampler or fake_sampler(STEPS)
    indices = range(start, start + len(conditions))
    x = initial_noises(seed, indices, tuple(image), attempts).astype(np.float64)
    painted = np.tanh(np.tensordot(conditions.astype(np.float64), paint(conditions.shape[1], image), axes=1))
    x0 = x
    for a, b, c, d in ddim_coefficients(np.asarray(sampler.alpha_bar), sampler.prediction):
        x0 = np.clip(a * x + b * (painted + MIX * (_blur(x) - painted)), -1, 1)
        x = c * x + d * x0
    return np.rint((x0 + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)


class Reading(NamedTuple):
    """What the annotator's heads multiply the rows of a picture with, each with its bias in the last row."""

    classes: Array
    """[R + 1, P]"""

    numbers: Array
    """[R + 1, M], onto [-1, 1]"""

    landmarks: Array
    """[R + 1, 2 L]"""


def fit_annotator(schema: Schema, image: ImageShape, sampler: Sampler) -> Reading:
    """Least squares from the rows of frames to their conditions; classes by the distance to their codes."""
    conditions = schema.encode([schema.complete({}, np.random.default_rng([7, i])) for i in range(FITTED)])
    rows = _with_one(_rows(expected_frames(conditions, seed=11, image=image, sampler=sampler)))
    slots = np.linalg.lstsq(rows, conditions.astype(np.float64), rcond=None)[0]
    classes, numbers = [np.zeros((len(slots), 0))], [np.zeros((len(slots), 0))]
    for field in schema.fields:
        read = slots[:, field.slots]
        if field.is_class:
            codes = np.asarray(field.codes)
            logits = 2.0 * SHARPNESS * read @ codes.T  # of -|slots - code|^2 what differs between the classes
            logits[-1] -= SHARPNESS * (codes**2).sum(axis=1)
            classes.append(logits)
        else:
            numbers.append(read)
    landmarks = np.random.default_rng(5).normal(0, 0.1, (len(slots), 2 * len(LANDMARKS)))
    return Reading(np.hstack(classes), np.hstack(numbers), landmarks)


def annotator_graph(schema: Schema, image: ImageShape, reading: Reading, **changes: Any) -> bytes:
    """The ONNX annotator; `changes` (`batch`, `classes`, `spoil`) make it disagree with the contract."""
    batch, spans = changes.get("batch", "batch"), _spans(schema)
    widths = [columns.stop - columns.start for columns in class_fields(schema).values()]
    constants = {
        "axis": np.array([2]),
        "flat": np.array([-1, image.height * image.channels]),
        "half": np.float32(127.5),
        "one": np.float32(1),
        "low": np.float32(-1),
        "middle": spans[0].astype(np.float32),
        "reach": spans[1].astype(np.float32),
        "zero": np.float32(changes.get("spoil", 0.0)),
        "error": (0.1 * spans[1]).astype(np.float32),
        "widths": np.array(widths),
        "points": np.array([-1, len(LANDMARKS), 2]),
    }
    for name, matrix in reading._asdict().items():
        constants |= {f"{name}.w": matrix[:-1].astype(np.float32), f"{name}.b": matrix[-1].astype(np.float32)}
    make = helper.make_node
    parts = [f"class{number}" for number in range(len(widths))]
    nodes = [
        make("Cast", ["frames"], ["floats"], to=TensorProto.FLOAT),
        make("ReduceMean", ["floats", "axis"], ["means"], keepdims=0),
        make("Reshape", ["means", "flat"], ["levels"]),
        make("Div", ["levels", "half"], ["divided"]),
        make("Sub", ["divided", "one"], ["features"]),
        make("Gemm", ["features", "classes.w", "classes.b"], ["logits"]),
        make("Split", ["logits", "widths"], parts, axis=1),
        *(make("Softmax", [part], [f"{part}.p"], axis=1) for part in parts),
        make("Concat", [f"{part}.p" for part in parts], ["probabilities"], axis=1),
        make("Gemm", ["features", "numbers.w", "numbers.b"], ["read"]),
        make("Clip", ["read", "low", "one"], ["clipped"]),
        make("Mul", ["clipped", "reach"], ["scaled"]),
        make("Add", ["scaled", "middle"], ["numbers"]),
        make("Mul", ["read", "zero"], ["nothing"]),
        make("Add", ["nothing", "error"], ["errors"]),
        make("Gemm", ["features", "landmarks.w", "landmarks.b"], ["found"]),
        make("Reshape", ["found", "points"], ["landmarks"]),
    ]
    outputs = {
        "probabilities": [changes.get("classes", sum(widths))],
        "numbers": [len(spans[0])],
        "errors": [len(spans[0])],
        "landmarks": [len(LANDMARKS), 2],
        "features": [image.height * image.channels],
    }
    frames = helper.make_tensor_value_info(
        "frames", TensorProto.UINT8, [batch, image.height, image.width, image.channels]
    )
    made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, *sides]) for n, sides in outputs.items()]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "annotator", [frames], made, stored)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


def expected_annotation(schema: Schema, frames: Frames, reading: Reading) -> Annotation:
    """What the annotator reads from frames uint8 [N, H, W, C], in numpy and fp64."""
    rows, (middle, reach) = _rows(frames), _spans(schema)
    logits = _with_one(rows) @ reading.classes
    odds = [np.exp(logits[:, c] - logits[:, c].max(axis=1, keepdims=True)) for c in class_fields(schema).values()]
    numbers = (_with_one(rows) @ reading.numbers).clip(-1, 1) * reach + middle
    points = (_with_one(rows) @ reading.landmarks).reshape(len(rows), len(LANDMARKS), 2)
    errors = np.tile(0.1 * reach, (len(rows), 1))
    arrays = (np.hstack([o / o.sum(axis=1, keepdims=True) for o in odds]), numbers, errors, points, rows)
    return Annotation(*(array.astype(np.float32) for array in arrays))


def _rows(frames: Frames) -> Array:
    """The mean of every row and channel, on [-1, 1]: float64 [N, H C]."""
    means = frames.astype(np.float64).mean(axis=2)
    return np.asarray(means.reshape(len(frames), means.shape[1] * means.shape[2]) / 127.5 - 1)


def _with_one(rows: Array) -> Array:
    return np.hstack([rows, np.ones((len(rows), 1))])


def _spans(schema: Schema) -> tuple[Array, Array]:
    """Middle and half the range of every number."""
    low, high = np.array([(field.low, field.high) for field in schema.fields if not field.is_class]).reshape(-1, 2).T
    return (low + high) / 2, (high - low) / 2


def _nodes() -> list[onnx.NodeProto]:
    make = helper.make_node
    columns = make("Split", ["row"], ["a", "b", "c", "d"], axis=0, num_outputs=4)
    network = [
        make("MatMul", ["condition", "paint"], ["flat"]),
        make("Tanh", ["flat"], ["bounded"]),
        make("Reshape", ["bounded", "rows"], ["painted"]),
        make("Conv", ["x", "blur"], ["blurred"], group=1, pads=[1, 1, 1, 1]),
        make("Sub", ["blurred", "painted"], ["difference"]),
        make("Mul", ["difference", "mix"], ["mixed"]),
        make("Add", ["painted", "mixed"], ["prediction"]),
    ]
    update = [
        make("Gather", ["table", "step"], ["row"], axis=0),
        columns,
        make("Mul", ["x", "a"], ["ax"]),
        make("Mul", ["prediction", "b"], ["bp"]),
        make("Add", ["ax", "bp"], ["raw"]),
        make("Clip", ["raw", "low", "high"], ["x0"]),
        make("Mul", ["x", "c"], ["cx"]),
        make("Mul", ["x0", "d"], ["dx0"]),
        make("Add", ["cx", "dx0"], ["x_next"]),
    ]
    frame = [
        make("Transpose", ["x0"], ["nhwc"], perm=[0, 2, 3, 1]),
        make("Add", ["nhwc", "high"], ["shifted"]),
        make("Mul", ["shifted", "half"], ["scaled"]),
        make("Round", ["scaled"], ["rounded"]),
        make("Cast", ["rounded"], ["frame"], to=TensorProto.UINT8),
    ]
    return network + update + frame


def paint(width: int, image: ImageShape) -> npt.NDArray[np.float64]:
    """What each slot of the condition adds to the rows of the picture, [D, C, H, 1]."""
    pattern = np.random.default_rng(2).normal(0, 0.5, (width, image.channels, image.height, 1))
    return pattern.astype(np.float32).astype(np.float64)


def _blur_kernel(channels: int) -> npt.NDArray[np.float32]:
    kernel = np.zeros((channels, channels, 3, 3), dtype=np.float32)
    kernel[range(channels), range(channels)] = 1 / 9
    return kernel


def _blur(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.asarray(windows.mean(axis=(-2, -1)))


def _reference(schema: Schema, image: ImageShape, sampler: Sampler, count: int) -> bytes:
    conditions = schema.encode([schema.complete({}, np.random.default_rng(i)) for i in range(count)])
    frames = expected_frames(conditions, seed=1, image=image, sampler=sampler)
    content = io.BytesIO()
    np.savez(content, conditions=conditions, seed=np.uint64(1), frames=frames)
    return content.getvalue()


if __name__ == "__main__":
    write_fake_bundle(Path(sys.argv[1]))
