"""A bundle of a few KB with a real step graph, so that runtime tests need neither torch nor training.

    python -m tests.fake_bundle build/fake

The graph is DDIM proper over an x0 "network" that can be written by hand: every slot of the condition vector
paints its own pattern onto the rows of the picture, and a 3x3 blur of x is mixed in, so that noise, condition,
step and neighbouring pixels all reach the frame. `expected_frames` says the same thing in numpy, in fp64.
"""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract.bundle import FileEntry, Image, Manifest, Sampler, write_manifest
from contract.conditions import Schema
from contract.schedule import ddim_coefficients, trailing
from contract.schemas import CABIN
from runtime.noise import initial_noise

IMAGE = Image(3, 16, 16)
STEPS = 3
TIMESTEPS = 1000
MIX = 0.25
"""Share of the blurred x in the predicted image."""

Frames = npt.NDArray[np.uint8]


def write_fake_bundle(
    folder: Path, schema: Schema = CABIN, image: Image = IMAGE, steps: int = STEPS, references: int = 4
) -> Manifest:
    """Write the whole bundle: step graph, reference frames, manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    sampler = fake_sampler(steps)
    contents = {
        "step.fp32.onnx": step_graph(schema.width, image, sampler),
        "reference.npz": _reference(schema, image, sampler, references),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    precisions = {"step.fp32.onnx": "fp32"}
    files = {n: FileEntry(hashlib.sha256(c).hexdigest(), precisions.get(n)) for n, c in contents.items()}
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


def step_graph(width: int, image: Image, sampler: Sampler, **changes: Any) -> bytes:
    """The ONNX step graph; `changes` (`steps`, `batch`) make it disagree with the contract."""
    channels, height, _ = image
    batch = changes.get("batch", "batch")
    x = [batch, channels, height, image.width]
    coefficients = ddim_coefficients(np.asarray(sampler.alpha_bar), sampler.prediction)
    constants = {
        "table": coefficients.astype(np.float32),
        "paint": _paint(width, image).reshape(width, -1).astype(np.float32),
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
    conditions: npt.NDArray[np.float32], seed: int, image: Image = IMAGE, sampler: Sampler | None = None, start: int = 0
) -> Frames:
    """What the graph draws for encoded conditions [N, D], in numpy and fp64; uint8 [N, H, W, C]."""
    sampler = sampler or fake_sampler(STEPS)
    indices = range(start, start + len(conditions))
    x = np.stack([initial_noise(seed, index, tuple(image)) for index in indices]).astype(np.float64)
    paint = np.tanh(np.tensordot(conditions.astype(np.float64), _paint(conditions.shape[1], image), axes=1))
    x0 = x
    for a, b, c, d in ddim_coefficients(np.asarray(sampler.alpha_bar), sampler.prediction):
        x0 = np.clip(a * x + b * (paint + MIX * (_blur(x) - paint)), -1, 1)
        x = c * x + d * x0
    return np.rint((x0 + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)


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


def _paint(width: int, image: Image) -> npt.NDArray[np.float64]:
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


def _reference(schema: Schema, image: Image, sampler: Sampler, count: int) -> bytes:
    conditions = schema.encode([schema.complete({}, np.random.default_rng(i)) for i in range(count)])
    frames = expected_frames(conditions, seed=1, image=image, sampler=sampler)
    content = io.BytesIO()
    np.savez(content, conditions=conditions, seed=np.uint64(1), frames=frames)
    return content.getvalue()


if __name__ == "__main__":
    write_fake_bundle(Path(sys.argv[1]))
