"""From a checkpoint to a verified bundle in its place, or to an error and no change at all.

manifest = write_bundle(read_checkpoint("ckpt.pt"), "bundle", sampler, ["fp32", "fp16"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from contract.bundle import FileEntry, Manifest, Sampler
from contract.files import sha256_of, write_whole
from contract.parity import REFERENCE
from export.annotator import add_annotators
from export.bundle import Draft, replacing
from export.progress import progress
from export.reference import choose_plan, draw_reference, npz
from export.step_graph import step_graph
from models.checkpoint import Checkpoint


def write_bundle(
    checkpoint: Checkpoint,
    folder: str | Path,
    sampler: Sampler,
    precisions: Sequence[str] = ("fp32",),
    verify: str = "quick",
) -> Manifest:
    """Build, verify and put in place; ParityError where frames differ from torch's, and `folder` is as it was."""
    with replacing(folder) as part:
        draft = from_checkpoint(part, checkpoint, sampler, precisions, verify)
        draft.write()
    return draft.manifest


def from_checkpoint(
    part: Path, checkpoint: Checkpoint, sampler: Sampler, precisions: Sequence[str], level: str
) -> Draft:
    """A draft with the step graphs of these precisions, each compared with torch, with torch's frames, and with the
    annotator in every precision where the checkpoint has one."""
    network = checkpoint.network()
    base = step_graph(network, sampler)
    plan = choose_plan(level, network, sampler)
    with progress("torch", plan.conditions) as advance:
        reference = draw_reference(checkpoint, network, sampler, plan.conditions, advance)
    draft = Draft(part, _manifest(checkpoint, sampler), reference, plan)
    draft.add_graphs(precisions, base)
    write_whole(part / REFERENCE, npz(reference))
    draft.add(REFERENCE, FileEntry(sha256_of(part / REFERENCE)))
    if checkpoint.annotator:
        add_annotators(draft, checkpoint.annotator, base)
    return draft


def _manifest(checkpoint: Checkpoint, sampler: Sampler) -> Manifest:
    source = {"checkpoint": checkpoint.sha256, "lineage": dict(checkpoint.lineage), "assumed": dict(checkpoint.assumed)}
    return Manifest(checkpoint.config.image, checkpoint.schema, sampler, {}, {}, source)
