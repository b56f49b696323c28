"""The annotator of a checkpoint as `annotator.onnx`, and as `annotator.int8.onnx` where its decisions survive that.

    add_annotators(draft, checkpoint.annotator, base)         # base: the step graph in fp32, which draws what it sees

Its input is `frames` uint8 [B, H, W, C], its outputs are the arrays of `contract.annotation.Annotation` in order.
"""

from __future__ import annotations

import copy
import itertools
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from contract.annotation import Annotation, class_fields
from contract.bundle import ANNOTATORS, FileEntry, Manifest
from contract.conditions import Schema
from contract.errors import ParityError
from contract.files import sha256_of, write_whole
from contract.frames import to_frames
from export import onnx_edit
from export.bundle import Draft
from export.int8.calibrate import BATCH, CONDITIONS, SEED, final_images, ranges, scaled, session, starts
from export.int8.quantize import ONNXRUNTIME_EXACT, quantize
from export.parity import annotated
from export.progress import progress
from export.step_graph import EXAMPLE_BATCH, export_graph
from models.annotator import Annotator, TrainedAnnotator

MAX_DIFFERENCE = 1e-3
"""Of fp32: what another order of sums can do to a probability or a share of a range is a hundredth of that."""

SAME_DECISIONS = 0.97
"""Share of int8's classes that have to be torch's. The others are those between which torch itself is undecided: 3 in
100 are well below what the annotator gets wrong on its own, and a frame that is rejected for it is only
drawn again."""

NUMBER_DIFFERENCE = 0.03
"""Mean over all numbers, as a share of their range: no more than what the annotator errs by itself (0.04)."""

BODY = "body."
"""Names of the convolutions that int8 is for; the layers after them are a hundredth of the work, and decide."""

Frames = npt.NDArray[np.uint8]


def add_annotators(draft: Draft, trained: TrainedAnnotator, base: bytes) -> None:
    """Add the graph of every precision, compared with torch on the reference frames.

    ParityError where fp32 reads something else than torch; int8 is then left out, and a line on stderr says so.
    """
    schema, frames = draft.manifest.schema, draft.reference.frames
    network = trained.network(schema)
    expected = network.annotate(frames)
    content = annotator_graph(network)
    extra = {
        "landmarks": list(trained.config.landmarks),
        "features": trained.config.features,
        "held_out": dict(trained.held_out),
    }
    parity = _write(draft, "fp32", content, extra, expected)
    if parity["measured"] > MAX_DIFFERENCE:
        raise ParityError(f"{ANNOTATORS['fp32']} differs from torch: {_missed(parity)}; nothing was written")
    _count(draft, "fp32", extra, parity)
    seen = calibration_frames(base, draft.manifest)
    parity = _write(draft, "int8", int8_graph(content, seen), extra, expected)
    if parity["measured"] < SAME_DECISIONS or parity["also"]["mean_number_difference"]["measured"] > NUMBER_DIFFERENCE:
        (draft.folder / ANNOTATORS["int8"]).unlink()
        print(f"export: {ANNOTATORS['int8']} is left out, fp32 does its work: {_missed(parity)}", file=sys.stderr)
        return
    _count(draft, "int8", {**extra, "calibration": {"conditions": len(seen), "seed": SEED}}, parity)


def annotator_graph(network: Annotator) -> bytes:
    """The annotator as a checked ONNX file: float32, normalisations folded away, weights inside."""
    config = network.config
    frames = torch.zeros(EXAMPLE_BATCH, config.image.height, config.image.width, config.channels, dtype=torch.uint8)
    return export_graph(folded(network), {"frames": frames}, Annotation._fields, {})


def folded(network: Annotator) -> Annotator:
    """A copy in which every batch normalisation is part of the convolution before it."""
    plain = copy.deepcopy(network)
    for module in list(plain.modules()):
        for (name, first), (following, second) in itertools.pairwise(list(module.named_children())):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(first, second))
                setattr(module, following, nn.Identity())
    return plain


def int8_graph(content: bytes, frames: Frames) -> bytes:
    """The graph in fp32 with the convolutions of its body in int8, their ranges those of these frames.

    Weights have 63 levels: with 127, CPUs without VNNI saturate, and decided otherwise in 5 of 100 classes (measured).
    """
    model = onnx_edit.load(content)
    names = {c.name for c in onnx_edit.convolutions(model.graph) if c.name.startswith(BODY)}

    def run(watched: onnx.ModelProto) -> Any:
        running, outputs = session(watched), [output.name for output in watched.graph.output[len(Annotation._fields) :]]
        cuts = range(0, len(frames), BATCH)
        return (running.run(outputs, {"frames": frames[first : first + BATCH]}) for first in cuts)

    return onnx_edit.save(quantize(model, ranges(model, run), names, ONNXRUNTIME_EXACT))


def calibration_frames(base: bytes, manifest: Manifest) -> Frames:
    """Frames uint8 [N, H, W, C] that the step graph draws for the calibration's seed: what the annotator will see."""
    trajectories = starts(manifest, scaled(CONDITIONS, manifest))
    with progress("calibrate annotator", len(trajectories.noise)) as advance:
        return to_frames(final_images(onnx_edit.load(base), trajectories, advance))


def largest_difference(schema: Schema, found: Annotation, expected: Annotation) -> float:
    """Largest absolute difference of any value; numbers and their errors as shares of the range."""
    spans = _spans(schema)
    scales = (1.0, spans, spans, 1.0, 1.0)
    pairs = zip(found, expected, scales, strict=True)
    return max(float((np.abs(a - b) / scale).max(initial=0.0)) for a, b, scale in pairs)


def same_decisions(schema: Schema, found: Annotation, expected: Annotation) -> float:
    """Share of the classes, over all fields and frames, that both decide alike."""
    first, second = found.probabilities, expected.probabilities
    same = [first[:, c].argmax(axis=1) == second[:, c].argmax(axis=1) for c in class_fields(schema).values()]
    return float(np.mean(same)) if same else 1.0


def mean_number_difference(schema: Schema, found: Annotation, expected: Annotation) -> float:
    """Mean absolute difference of the numbers, as a share of the range."""
    shares = np.abs(found.numbers - expected.numbers) / _spans(schema)
    return float(shares.mean()) if shares.size else 0.0


def _spans(schema: Schema) -> npt.NDArray[np.float64]:
    return np.array([field.high - field.low for field in schema.fields if not field.is_class])


def _write(draft: Draft, precision: str, content: bytes, extra: dict[str, Any], expected: Annotation) -> dict[str, Any]:
    """Put the file into the draft's folder; its parity entry, measured through the runtime."""
    write_whole(draft.folder / ANNOTATORS[precision], content)
    trial = Draft(draft.folder, draft.manifest, draft.reference, draft.plan)
    _count(trial, precision, extra, {})
    schema, frames = draft.manifest.schema, draft.reference.frames
    found = annotated(draft.folder, trial.manifest, precision, frames)
    if precision == "fp32":
        measured = largest_difference(schema, found, expected)
        entry: dict[str, Any] = {"metric": "max_difference", "tolerance": MAX_DIFFERENCE, "measured": measured}
    else:
        measured, numbers = same_decisions(schema, found, expected), mean_number_difference(schema, found, expected)
        entry = {"metric": "same_decisions", "tolerance": SAME_DECISIONS, "measured": measured}
        entry["also"] = {"mean_number_difference": {"tolerance": NUMBER_DIFFERENCE, "measured": numbers}}
    return entry | {"conditions": len(frames)}


def _count(draft: Draft, precision: str, extra: dict[str, Any], parity: dict[str, Any]) -> None:
    name = ANNOTATORS[precision]
    draft.add(name, FileEntry(sha256_of(draft.folder / name), precision, extra), parity)


def _missed(parity: dict[str, Any]) -> str:
    figures = {parity["metric"]: parity, **parity.get("also", {})}
    return ", ".join(f"{key} {entry['measured']:.4g} (gate {entry['tolerance']:g})" for key, entry in figures.items())
