"""Do a bundle's files draw what torch draws? Full trajectories, from the same noise, through the runtime itself.

    entry = measure(folder, manifest, "step.fp16.onnx", reference, QUICK, bar.update)   # ParityError where it is off

The one file of this room that looks into the runtime; it needs no torch, as the reference may come from the bundle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.annotation import Annotation
from contract.bundle import Manifest
from contract.conditions import Array, Schema
from contract.errors import ParityError, Unavailable
from runtime.annotator import Annotator
from runtime.backend import Backend, Request, open_backend
from runtime.noise import initial_noises, open_fields
from runtime.onnx_cpu import open_cpu
from runtime.replay import GATES, METRICS, Reference, read_reference

__all__ = [
    "FULL",
    "HEAVY",
    "QUICK",
    "Plan",
    "Reference",
    "annotated",
    "conditions_of",
    "measure",
    "noise_of",
    "read_reference",
]

Advance = Callable[[int], object]
"""Told how many more frames are done."""

Frames = npt.NDArray[np.uint8]

TENSORRT = "trt"
"""The runtime's backend for engines."""

SEED = 0
"""Of the reference's noise and conditions."""


@dataclass(frozen=True)
class Plan:
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

    def within(self, frames: int) -> Plan:
        """The same with no more conditions than there are reference frames of."""
        return Plan(min(self.conditions, frames), min(self.edges, frames), self.sizes)


QUICK = Plan(32, 8)
HEAVY = Plan(8, 3, (1, 4, 3))
"""For networks that take minutes otherwise."""

FULL = Plan(256, 32)


def noise_of(shape: tuple[int, ...], rows: range) -> npt.NDArray[np.float32]:
    """The noise [N, C, H, W] that these frames of the reference start from."""
    return initial_noises(SEED, rows, shape)


def conditions_of(schema: Schema, count: int) -> Array:
    """The reference's conditions, drawn from the prior as the runtime draws open fields: float32 [N, D]."""
    return schema.encode([schema.complete({}, open_fields(SEED, index)) for index in range(count)])


def measure(
    folder: Path, manifest: Manifest, name: str, reference: Reference, plan: Plan, advance: Advance
) -> dict[str, Any]:
    """The parity entry of one file for the manifest; ParityError, with the worst condition, where it fails its gate.

    An engine that this machine can't run gets `verified: false` and the reason; `runtime.verify` does it on the
    target. What a CPU computes of fp16, or of int8 in TensorRT's form, is `emulated`.
    """
    precision = str(manifest.files[name].precision)
    (metric, tolerance), *also = GATES[precision]
    gate = {"metric": metric, "tolerance": tolerance}
    engine = name.endswith(".engine")
    try:
        backend = _open(folder, manifest, name)
    except Unavailable as error:
        if not engine:
            raise
        return gate | {"verified": False, "reason": str(error).removeprefix(f"{TENSORRT}: ")}
    batch = manifest.files[name].extra.get("batch", {})
    batches = plan.batches((batch["min"], batch["opt"], batch["max"]) if engine else None)
    try:
        drawn = [_draw(backend, manifest, reference, size, count, advance) for size, count in batches.items()]
    finally:
        backend.close()
    indices = np.concatenate([np.arange(count) for count in batches.values()])
    found, expected = np.concatenate(drawn), reference.frames[indices]
    measured = {key: METRICS[key].measure(found, expected) for key, _ in GATES[precision]}
    worst = int(indices[_squared_errors(found, expected).argmax()])
    _require(name, precision, measured, _blank(found, expected, indices), _told(manifest, reference, worst))
    entry = gate | {
        "measured": measured[metric],
        "also": {key: {"tolerance": limit, "measured": measured[key]} for key, limit in also},
        "conditions": len(set(indices)),
        "batches": list(batches),
        "worst": worst,
        "differing": float(np.mean(found != expected)),
    }
    emulated = not engine and (precision == "fp16" or "for" in manifest.files[name].extra)
    return entry | ({"verified": True, "device": backend.device} if engine else {"emulated": True} if emulated else {})


def annotated(folder: Path, manifest: Manifest, precision: str, frames: Frames) -> Annotation:
    """What the runtime reads from frames uint8 [N, H, W, C] with the annotator of that precision."""
    annotator = Annotator.open(folder, manifest, precision)
    try:
        return annotator.annotate(frames)
    finally:
        annotator.close()


def _open(folder: Path, manifest: Manifest, name: str) -> Backend:
    if name.endswith(".engine"):
        return open_backend(folder, manifest, Request(TENSORRT, file=name))[0]
    return open_cpu(folder, manifest, name)


def _draw(
    backend: Backend, manifest: Manifest, reference: Reference, size: int, count: int, advance: Advance
) -> Frames:
    """The first `count` frames, in batches of exactly this size: what is missing to a whole one is drawn twice."""
    rows = np.arange(-(-count // size) * size) % count
    frames = []
    for first in range(0, len(rows), size):
        batch = rows[first : first + size]
        x = initial_noises(reference.seed, batch.tolist(), tuple(manifest.image))
        frames.append(backend.sample(x, reference.conditions[batch]))
        advance(size)
    return np.concatenate(frames)[:count]


def _require(name: str, precision: str, measured: dict[str, float], blank: list[int], worst: str) -> None:
    """ParityError where one of the precision's gates is missed, or NaN was drawn."""
    wrong = []
    for key, limit in GATES[precision]:
        if not METRICS[key].good(measured[key], limit):
            side = "at least" if METRICS[key].higher_is_better else "at most"
            wrong.append(f"{key} is {measured[key]:g}, expected {side} {limit:g}")
    if blank:
        wrong.append(f"{len(blank)} frames are of one colour, as NaN is drawn (condition {blank[0]})")
    if wrong:
        raise ParityError(f"{name} differs from torch: {'; '.join(wrong)}; the worst is {worst}; nothing was written")


def _blank(found: Frames, expected: Frames, indices: npt.NDArray[np.int64]) -> list[int]:
    """Conditions whose frame is of one colour where the reference's isn't: NaN reaches every pixel of its frame."""

    def flat(frames: Frames) -> npt.NDArray[np.bool_]:
        rows = frames.reshape(len(frames), -1)
        return np.asarray(rows.max(axis=1) == rows.min(axis=1))

    return [int(index) for index in indices[flat(found) & ~flat(expected)]]


def _told(manifest: Manifest, reference: Reference, index: int) -> str:
    """`condition 17 (lighting=night, accessory=mask)`, its classes by name."""
    schema = manifest.schema
    condition = schema.decode(reference.conditions[index : index + 1])[0]
    classes = [f"{name}={value}" for name, value in condition.items() if schema.field(name).is_class]
    return f"condition {index} ({', '.join(classes)})"


def _squared_errors(found: Frames, expected: Frames) -> npt.NDArray[np.float64]:
    """Mean squared error of each frame."""
    difference = found.astype(np.float64) - expected
    return np.asarray((difference**2).reshape(len(found), -1).mean(axis=1))
