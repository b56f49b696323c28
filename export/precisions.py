"""Which step graphs a precision consists of, and how they are made of the one in fp32, without torch.

    for made in derive("int8", fp32_bytes, manifest):
        (folder / made.name).write_bytes(made.content)

onnx and onnxruntime are imported where a graph is made: a bundle that has what it needs becomes an engine without.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from contract.bundle import FileEntry, Manifest
from contract.errors import ParityError, Unavailable, UsageError

PRECISIONS = ("fp32", "fp16", "int8")

NAMES = {
    "fp32": ("step.fp32.onnx",),
    "fp16": ("step.fp16.onnx",),
    "int8": ("step.int8.onnx", "step.int8-trt.onnx"),
}
"""The graphs of a precision, TensorRT builds from the last: it needs int8 in another form than ONNX Runtime."""

BASE = "step.fp32.onnx"
"""What the others are made of."""

FEWEST = 0.5
"""Share of the convolutions that int8 has to be good enough for: with fewer it costs more than it gains."""


@dataclass(frozen=True)
class StepGraph:
    """A step graph that was made, and what the manifest says of it."""

    name: str
    content: bytes
    precision: str
    extra: Mapping[str, Any]

    @property
    def entry(self) -> FileEntry:
        return FileEntry(hashlib.sha256(self.content).hexdigest(), self.precision, self.extra)


def derive(precision: str, base: bytes, manifest: Manifest) -> list[StepGraph]:
    """The graphs of a precision, from the graph in fp32.

    Unavailable where a package for it is missing, UsageError for a network that has no convolutions to convert.
    """
    if precision == "fp32":
        return [StepGraph(BASE, base, "fp32", {})]
    try:
        from export import onnx_edit
        from export.fp16 import to_fp16
    except ImportError as error:
        fix = (
            f"pip install onnx onnxruntime, or export where torch is: python -m export CKPT.pt --precision {precision}"
        )
        raise Unavailable(f"{BASE} can't be turned into {precision} here: {error}; run: {fix}") from error

    model = onnx_edit.load(base)
    if (found := len(onnx_edit.convolutions(model.graph))) < 2:
        raise UsageError(f"--precision {precision}: a network with {found} convolutions; expected 2 or more, or fp32")
    if precision == "fp16":
        return [StepGraph("step.fp16.onnx", onnx_edit.save(to_fp16(model)), "fp16", {})]
    return _int8(model, manifest)


def _int8(model: Any, manifest: Manifest) -> list[StepGraph]:
    """One graph for each engine; TensorRT's keeps the convolutions at the image in fp16."""
    from export import onnx_edit
    from export.fp16 import to_fp16
    from export.int8 import calibrate, choose_layers
    from export.int8.quantize import ONNXRUNTIME, TENSORRT, quantize

    ranges = calibrate.calibrate(model, manifest)
    found = choose_layers.sweep(model, ranges, manifest)
    names = choose_layers.choose(found)
    if len(names) < len(found) * FEWEST:
        raise ParityError(
            f"int8: only {len(names)} of {len(found)} convolutions bear it within {choose_layers.BUDGET_DB:g} dB of"
            " PSNR, too few for it to be faster; leave int8 out of --precision; nothing was written"
        )
    count = calibrate.scaled(calibrate.CONDITIONS, manifest)
    inner = choose_layers.choose(
        {name: found[name] for name in choose_layers.body(model)}
    )  # the ends are cheap in fp16
    own = onnx_edit.save(quantize(model, ranges, names, ONNXRUNTIME))
    trt = onnx_edit.save(quantize(to_fp16(model), ranges, inner, TENSORRT))

    def extra(quantized: list[str]) -> dict[str, Any]:
        floats = [c.name for c in onnx_edit.convolutions(model.graph) if c.name not in quantized]
        calibrated = {"conditions": count, "seed": calibrate.SEED}
        return {"calibration": calibrated, "sensitivity": found, "float_convolutions": floats}

    first, last = NAMES["int8"]
    return [
        StepGraph(first, own, "int8", extra(names)),
        StepGraph(last, trt, "int8", {"for": "tensorrt", **extra(inner)}),
    ]
