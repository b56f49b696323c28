"""Does a file of a bundle draw what torch draws? Full trajectories, from the same noise, through the runtime itself.

    entry = measure(folder, manifest, "step.fp16.onnx", reference, QUICK, bar.update)   # ParityError where it fails

The one file of this room that looks into the runtime; it needs no torch, as the reference may come from the bundle.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.annotation import Annotation
from contract.bundle import Manifest, open_checked
from contract.conditions import Array, Schema
from contract.errors import ParityError, Unavailable
from contract.frames import Frames
from contract.noise import initial_noises, open_fields
from contract.parity import Reference, compare, gates_of
from contract.trajectory import FRAME, NOISE
from export.progress import Advance
from runtime.annotator import Annotator
from runtime.backends.ort import CPU, import_onnxruntime, new_session
from runtime.backends.ort_cpu import open_cpu
from runtime.backends.registry import Backend, Request, open_backend

TENSORRT = "trt"
"""The runtime's backend for engines."""

SEED = 0
"""Of the reference's noise and conditions."""


@dataclass(frozen=True)
class ParityPlan:
    """How many of the reference's conditions are run at which batch size."""

    conditions: int
    """At the usual batch size: a profile's opt."""

    edges: int
    """At the others: a profile's min and max."""

    sizes: tuple[int, int, int] = (1, 8, 3)
    """Min, opt and a third batch size of a file that takes any."""

    def batches(self, profile: tuple[int, int, int] | None = None) -> dict[int, int]:
        """{batch size: conditions}, the usual one first."""
        low, usual, high = profile or self.sizes
        return {usual: self.conditions} | {size: self.edges for size in (low, high) if size != usual}

    def drawn(self, profile: tuple[int, int, int] | None = None) -> int:
        """Frames that are drawn to measure one file."""
        return sum(-(-count // size) * size for size, count in self.batches(profile).items())

    def within(self, frames: int) -> ParityPlan:
        """The same with no more conditions than there are reference frames of."""
        return ParityPlan(min(self.conditions, frames), min(self.edges, frames), self.sizes)


QUICK = ParityPlan(32, 8)
HEAVY = ParityPlan(8, 3, (1, 4, 3))
"""For networks that take minutes otherwise."""

FULL = ParityPlan(256, 32)


def noise_of(shape: tuple[int, ...], rows: range) -> npt.NDArray[np.float32]:
    """The noise [N, C, H, W] that these frames of the reference start from."""
    return initial_noises(SEED, rows, shape)


def conditions_of(schema: Schema, count: int) -> Array:
    """The reference's conditions, drawn from the prior as the runtime draws open fields: float32 [N, D]."""
    return schema.encode([schema.complete({}, open_fields(SEED, index)) for index in range(count)])


def measure(
    folder: Path, manifest: Manifest, name: str, reference: Reference, plan: ParityPlan, advance: Advance
) -> dict[str, Any]:
    """The parity entry of one file for the manifest; ParityError, with the worst condition, where it fails its gate.

    An engine that this machine can't run gets `verified: false` and the reason; `runtime.verify` does it on the
    target. What a CPU computes of fp16, or of int8 in TensorRT's form, is `emulated`.
    """
    precision = str(manifest.files[name].precision)
    gates = gates_of(precision)
    engine = name.endswith(".engine")
    undo = contextlib.ExitStack()
    # What is compiled for this GPU meanwhile would else be left beside a bundle that is still in the making.
    state = Path(undo.enter_context(tempfile.TemporaryDirectory()))
    try:
        backend = _open(folder, manifest, name, state)
    except Unavailable as error:
        undo.close()
        if not engine:
            raise
        metric, tolerance = gates[0]
        reason = str(error).removeprefix(f"{TENSORRT}: ")
        return {"metric": metric, "tolerance": tolerance, "verified": False, "reason": reason}
    batch = manifest.files[name].extra.get("batch", {})
    batches = plan.batches((batch["min"], batch["opt"], batch["max"]) if engine else None)

    def draw(rows: npt.NDArray[np.int64], size: int) -> Frames:
        frames = []
        for chosen in np.split(rows, len(rows) // size):
            x = initial_noises(reference.seed, chosen.tolist(), manifest.x_shape)
            frames.append(backend.sample(x, reference.conditions[chosen]))
            advance(size)
        return np.concatenate(frames)

    try:
        comparison = compare(draw, reference, batches, gates)
    finally:
        backend.close()
        undo.close()
    if comparison.faults:
        worst = _name_condition(manifest, reference, comparison.worst)
        faults = "; ".join(comparison.faults)
        raise ParityError(f"{name} differs from torch: {faults}; the worst is {worst}; nothing was written")
    entry = comparison.to_dict()
    if engine:
        return entry | {"verified": True, "device": backend.device}
    emulated = precision == "fp16" or "for" in manifest.files[name].extra
    return entry | ({"emulated": True} if emulated else {})


def describe(parity: Mapping[str, Any]) -> str:
    """A parity entry of the manifest in words."""
    if "measured" not in parity:
        return f"not verified: {parity['reason']}"
    gate = f"{parity['metric']} {parity['measured']:.4g} (gate {parity['tolerance']:g})"
    return f"{gate} against torch, {parity['conditions']} conditions{', emulated' * bool(parity.get('emulated'))}"


def annotated(folder: Path, manifest: Manifest, precision: str, frames: Frames) -> Annotation:
    """What the runtime reads from frames uint8 [N, H, W, C] with the annotator of that precision."""
    annotator = Annotator.open(folder, manifest, precision)
    try:
        return annotator.annotate(frames)
    finally:
        annotator.close()


def _open(folder: Path, manifest: Manifest, name: str, state: Path) -> Backend | TrajectorySession:
    if name.endswith(".engine"):
        return open_backend(folder, manifest, Request(TENSORRT, file=name, state=state))[0]
    if name.startswith("trajectory."):
        return TrajectorySession(open_checked(folder, manifest, name))
    return open_cpu(folder, manifest, name)


class TrajectorySession:
    """A trajectory graph in ONNX Runtime, in one call as any consumer runs it."""

    device = CPU

    def __init__(self, content: bytes) -> None:
        self._session = new_session(import_onnxruntime("cpu"), content, CPU)

    def sample(self, x: npt.NDArray[np.float32], condition: npt.NDArray[np.float32]) -> Frames:
        """Frames uint8 [B, H, W, C] from noise [B, C, H, W] under condition [B, D]."""
        frames: Frames = self._session.run([FRAME], {NOISE: x, "condition": condition})[0]
        return frames

    def close(self) -> None:
        self._session = None


def _name_condition(manifest: Manifest, reference: Reference, index: int) -> str:
    """`condition 17 (lighting=night, accessory=mask)`, its classes by name."""
    schema = manifest.schema
    condition = schema.decode(reference.conditions[index : index + 1])[0]
    classes = [f"{name}={value}" for name, value in condition.items() if schema.field(name).is_class]
    return f"condition {index} ({', '.join(classes)})"
