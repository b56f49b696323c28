"""What a step graph has to look like, whoever runs it.

errors = EngineErrors("bundle/step.fp32.onnx", "export it anew", "ONNX Runtime")
session = errors(lambda: open_session(content))           # the engine's own errors become Refused
check_step_graph(errors, session.get_inputs(), session.get_outputs(), "4", manifest)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from contract.bundle import FIX, Manifest, open_checked
from contract.errors import EdgeError, Refused
from contract.trajectory import FRAME, NOISE, trajectory

T = TypeVar("T")

Batches = Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
"""Noise [B, C, H, W] and conditions [B, D] of each batch."""

Shapes = Mapping[str, tuple[str, list[int] | None]]
"""Name of an input or output -> its type, and its sides without the batch axis; None for a scalar."""

LONGEST = 400

NO_MEMORY = ("bad_alloc", "bad allocation", "out of memory", "failed to allocate memory", "cannot allocate memory")
"""How ONNX Runtime, OpenVINO and CUDA say so, in lower case."""

ABOUT_ITSELF = ("Exception from ", "Check '")
"""How lines begin in which OpenVINO names a place in its own source."""


class Port(NamedTuple):
    """An input or output, as ONNX Runtime describes it."""

    name: str
    type: str
    """`tensor(float)`"""
    shape: Sequence[int | str | None]
    """A name where a side is open, None where nothing is known of it."""


def find(manifest: Manifest, precision: str) -> list[str]:
    """Names of the bundle's step graphs of that precision for ONNX Runtime and OpenVINO; those for TensorRT aren't."""
    found = []
    for name, entry in manifest.files.items():
        own = name.startswith("step.") and name.endswith(".onnx") and entry.extra.get("for") in (None, "onnxruntime")
        if own and entry.precision == precision:
            found.append(name)
    return found


def summary(error: Exception) -> str:
    """An engine's error in one line of at most `LONGEST` characters: its beginning, and its end, which is the cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith(ABOUT_ITSELF)]
    text = " ".join(lines or [type(error).__name__])
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"


def out_of_memory(error: Exception) -> bool:
    """Whether an engine says that it got no memory, of the host or of a device."""
    return any(sign in str(error).lower() for sign in NO_MEMORY)


@dataclass(frozen=True)
class EngineErrors:
    """Turns an engine's errors about a file of the bundle into Refused, which names the file."""

    name: str

    fix: str
    """The command that makes a good one."""

    engine: str = "ONNX Runtime"

    def __call__(self, call: Callable[[], T]) -> T:
        """Call into the engine; its own errors, which share no base class, become Refused.

        MemoryError where it got no memory: that file is as good as before.
        """
        try:
            return call()
        except (MemoryError, EdgeError):
            raise
        except Exception as error:
            if out_of_memory(error):
                raise MemoryError(summary(error)) from error
            raise Refused(f"{self.name}: {self.engine} says: {summary(error)}; {self.fix}") from error

    def compare(self, what: str, found: Sequence[Port], expected: Shapes) -> None:
        """Refused where the inputs or outputs of a session aren't those that the manifest asks for."""
        shapes = {node.name: (node.type, list(node.shape)) for node in found}
        wanted = {name: (kind, [] if sides is None else [None, *sides]) for name, (kind, sides) in expected.items()}
        # The first axis is the batch: any name for it will do, a fixed number won't.
        open_batch = {
            name: (kind, [None if isinstance(sides[0], str) else sides[0], *sides[1:]] if sides else [])
            for name, (kind, sides) in shapes.items()
        }
        if open_batch != wanted:
            raise Refused(f"{self.name}: {what} {open_batch}, expected {wanted} by the manifest; {self.fix}")


def graph_of(folder: Path, manifest: Manifest, file: str) -> bytes:
    """A step graph of the bundle, hashed; of a latent model all its steps and the decoder as one graph."""
    content = open_checked(folder, manifest, file)
    if manifest.latent is None:
        return content
    decoder = open_checked(folder, manifest, manifest.decoder_of(file))
    try:
        return trajectory(content, manifest.sampler.steps, decoder)
    except (IndexError, StopIteration, UnicodeDecodeError) as error:
        raise Refused(f"{folder / file}: no step graph of a latent model; {FIX.format(folder=folder)}") from error


def check_step_graph(
    errors: EngineErrors, inputs: Sequence[Port], outputs: Sequence[Port], steps: str | None, manifest: Manifest
) -> None:
    """Compare a graph's names, types, shapes and number of steps with the manifest, before anything is allocated."""
    channels, height, width = manifest.image
    x, condition = ("tensor(float)", list(manifest.x_shape)), ("tensor(float)", [manifest.schema.width])
    frame = ("tensor(uint8)", [height, width, channels])
    if manifest.latent:
        errors.compare("inputs", inputs, {NOISE: x, "condition": condition})
        errors.compare("outputs", outputs, {FRAME: frame})
    else:
        errors.compare("inputs", inputs, {"x": x, "condition": condition, "step": ("tensor(int64)", None)})
        errors.compare("outputs", outputs, {"x_next": x, FRAME: frame})
    wanted = manifest.sampler.steps
    if steps not in (None, str(wanted)):  # another exporter may leave it out
        raise Refused(f"{errors.name}: made for {steps} steps, expected {wanted} by the manifest; {errors.fix}")
