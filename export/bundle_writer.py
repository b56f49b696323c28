"""From a checkpoint to a verified bundle in its place, or to an error and no change at all.

manifest = write_bundle(read_checkpoint("ckpt.pt"), "bundle", sampler, ["fp32", "fp16"])
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from contract.bundle import FileEntry, Manifest, Sampler
from contract.errors import UsageError
from contract.files import sha256_of, write_whole
from contract.frames import ImageShape
from contract.parity import REFERENCE, Reference
from export.annotator import add_annotators
from export.bundle import Draft, replacing
from export.progress import progress
from export.reference import choose_plan, draw_reference, npz
from export.step_graph import decoder_graph, step_graph
from models.checkpoint import Checkpoint


def write_bundle(
    checkpoint: Checkpoint,
    folder: str | Path,
    sampler: Sampler,
    precisions: Sequence[str] = ("fp32",),
    verify: str = "quick",
    trajectories: bool = False,
) -> Manifest:
    """Build, verify and put in place; ParityError where frames differ from torch's, and `folder` is as it was."""
    with replacing(folder) as part:
        draft = from_checkpoint(part, checkpoint, sampler, precisions, verify)
        if trajectories:
            draft.add_trajectories()
        draft.write()
    return draft.manifest


def from_checkpoint(
    part: Path, checkpoint: Checkpoint, sampler: Sampler, precisions: Sequence[str], level: str
) -> Draft:
    """A draft with the step graphs of these precisions, each compared with torch, with torch's frames, and with the
    annotator in every precision where the checkpoint has one."""
    network, decoder = checkpoint.network(), checkpoint.decoder()
    if decoder and "int8" in precisions:
        raise UsageError("--precision int8: a latent model; expected fp32 or fp16")
    base = step_graph(network, sampler, latent=decoder is not None)
    plan = choose_plan(level, network, sampler)
    with progress("torch", plan.conditions) as advance:
        reference = draw_reference(checkpoint, network, sampler, plan.conditions, advance, decoder)
    draft = Draft(part, _manifest(checkpoint, sampler, reference), reference, plan)
    if decoder:
        assert draft.manifest.latent is not None
        draft.add_decoders(precisions, decoder_graph(decoder, draft.manifest.latent))
    draft.add_graphs(precisions, base)
    write_whole(part / REFERENCE, npz(reference))
    draft.add(REFERENCE, FileEntry(sha256_of(part / REFERENCE)))
    if checkpoint.annotator:
        add_annotators(draft, checkpoint.annotator, base)
    return draft


def _manifest(checkpoint: Checkpoint, sampler: Sampler, reference: Reference) -> Manifest:
    height, width, channels = reference.frames.shape[1:]
    source = {"checkpoint": checkpoint.sha256, "lineage": dict(checkpoint.lineage), "assumed": dict(checkpoint.assumed)}
    image = ImageShape(channels, height, width)
    return Manifest(image, checkpoint.schema, sampler, {}, {}, source, checkpoint.latent)
