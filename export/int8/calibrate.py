"""How large the activations get where the network is really used: along trajectories of its own sampler.

    ranges = calibrate(load(fp32_bytes), manifest)      # {"down.0.0.conv0": Range((0, 12.3), (0, 4.7))}

Conditions are drawn from the schema's prior, x_t comes from sampling at the sampler's own timesteps; noise of
another distribution would never reach what a half-drawn face does. The guided graph doubles its batch inside,
so that both halves are seen together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from contract.bundle import Manifest
from contract.errors import Unavailable
from export.onnx_edit import conv_output, convolutions, copy_of
from export.progress import Advance, progress

SEED = 1
"""Another than that of reference.npz: frames that were calibrated on would flatter the parity."""

CONDITIONS, PIXELS, FEWEST = 32, 64 * 64, 2
"""Conditions for frames of 64 x 64; fewer for larger ones, whose pixels are a sample for themselves."""

BATCH = 8

IMAGE = (-1.0, 255.0 / 127.0 - 1.0)
"""Range of a predicted image in which -1, 0 and 1 are levels of uint8: 255 steps of 1 / 127."""


class Range(NamedTuple):
    """Smallest and largest value that a convolution read, and that it (after its ReLU) wrote."""

    input: tuple[float, float]
    output: tuple[float, float]


class Trajectories(NamedTuple):
    """Where some sampling starts: noise [N, C, H, W] and conditions [N, D]."""

    noise: npt.NDArray[np.float32]
    conditions: npt.NDArray[np.float32]
    steps: int


def starts(manifest: Manifest, count: int) -> Trajectories:
    """`count` frames of the calibration seed, their conditions drawn from the schema's prior."""
    schema, shape = manifest.schema, tuple(manifest.image)
    streams = [np.random.Generator(np.random.Philox(key=[SEED, index])) for index in range(count)]
    conditions = schema.encode([schema.complete({}, stream) for stream in streams])
    noise = np.stack([stream.standard_normal(shape, dtype=np.float32) for stream in streams])
    return Trajectories(noise, conditions, manifest.sampler.steps)


def scaled(count: int, manifest: Manifest) -> int:
    """`count` conditions for frames of 64 x 64, and fewer for larger ones."""
    return max(min(count, FEWEST), min(count, count * PIXELS // (manifest.image.height * manifest.image.width)))


def calibrate(model: onnx.ModelProto, manifest: Manifest) -> dict[str, Range]:
    """Range of every convolution's input and output by its name, over full trajectories.

    Where the last one writes the predicted image as it is, it may saturate at what the sampler clips anyway, and no
    level is spent on values beyond.
    """
    trajectories = starts(manifest, scaled(CONDITIONS, manifest))
    with progress("calibrate", len(trajectories.noise)) as advance:
        found = ranges(model, lambda watched: (values for _, _, values in walk(watched, trajectories, advance)))
    sampler, last = manifest.sampler, convolutions(model.graph)[-1].name
    if sampler.clip and sampler.prediction == "x0" and sampler.guidance == 1.0:
        found[last] = found[last]._replace(output=IMAGE)
    return found


def ranges(model: onnx.ModelProto, run: Callable[[onnx.ModelProto], Iterable[Sequence[Any]]]) -> dict[str, Range]:
    """Range of every convolution's input and output by its name.

    `run` takes a copy with additional outputs, and yields their values, batch by batch.
    """
    names = {c.name: (c.input[0], conv_output(model.graph, c)) for c in convolutions(model.graph)}
    tensors = list(dict.fromkeys(name for pair in names.values() for name in pair))
    low, high = np.zeros(len(tensors)), np.zeros(len(tensors))
    for extremes in run(_watching(model, tensors)):
        low, high = np.minimum(low, extremes[0::2]), np.maximum(high, extremes[1::2])
    found = {tensor: (float(low[i]), float(high[i])) for i, tensor in enumerate(tensors)}
    return {name: Range(found[read], found[written]) for name, (read, written) in names.items()}


def final_images(model: onnx.ModelProto, trajectories: Trajectories, advance: Advance) -> npt.NDArray[np.float32]:
    """The images [N, C, H, W] in [-1, 1] that the trajectories end in."""
    last = trajectories.steps - 1
    images = [x for step, x, _ in walk(model, trajectories, advance) if step == last]
    return np.concatenate(images).clip(-1.0, 1.0)


def walk(
    model: onnx.ModelProto, trajectories: Trajectories, advance: Advance
) -> Iterator[tuple[int, npt.NDArray[np.float32], list[Any]]]:
    """Each step of each batch: its number, its x_next, and the outputs after x_next and frame."""
    running = session(model)
    outputs = ["x_next", *(output.name for output in model.graph.output[2:])]
    for first in range(0, len(trajectories.noise), BATCH):
        x = trajectories.noise[first : first + BATCH]
        condition = trajectories.conditions[first : first + BATCH]
        for step in range(trajectories.steps):
            x, *values = running.run(outputs, {"x": x, "condition": condition, "step": np.array(step)})
            yield step, x, values
        advance(len(x))


def session(model: onnx.ModelProto) -> Any:
    """The model in ONNX Runtime on the CPU; Unavailable without it."""
    try:
        import onnxruntime
    except ImportError:
        message = "int8 is calibrated with onnxruntime, which isn't installed; run: pip install '.[cpu]'"
        raise Unavailable(message) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors come as exceptions
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _watching(model: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """A copy that also puts out smallest and largest value of each tensor."""
    watched = copy_of(model)
    for tensor in tensors:
        for kind in ("ReduceMin", "ReduceMax"):
            name = f"{tensor}.{kind}"
            watched.graph.node.append(helper.make_node(kind, [tensor], [name], keepdims=0))
            watched.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, []))
    return watched
