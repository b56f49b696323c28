"""From a checkpoint to a verified bundle in its place, or to an error and no change at all.

manifest = write_bundle(read_checkpoint("ckpt.pt"), "bundle", sampler)
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from contract.bundle import FileEntry, Image, Manifest, Sampler, sha256_of, write_manifest, write_whole
from export.folder import replacing
from export.graph import step_graph
from export.verify import STORED, Reference, choose_plan, draw_reference, measure
from models.checkpoint import Checkpoint
from models.denoiser import Denoiser

GRAPHS: dict[str, Callable[[Denoiser, Sampler], bytes]] = {"fp32": step_graph}
"""How the step graph of each precision is made."""

REFERENCE = "reference.npz"


def write_bundle(
    checkpoint: Checkpoint,
    folder: str | Path,
    sampler: Sampler,
    precisions: Sequence[str] = ("fp32",),
    verify: str = "quick",
) -> Manifest:
    """Build, verify and put in place; ParityError where frames differ from torch's, and `folder` is as it was."""
    network = checkpoint.network()
    graphs = {f"step.{precision}.onnx": precision for precision in precisions}
    with replacing(folder) as part, tqdm(desc="trace", unit="frame", disable=None, leave=False) as bar:
        for name, precision in graphs.items():
            write_whole(part / name, GRAPHS[precision](network, sampler))
        entries = {name: FileEntry(sha256_of(part / name), precision) for name, precision in graphs.items()}
        manifest = _manifest(checkpoint, sampler, entries)
        write_manifest(part, manifest)  # the runtime only opens a bundle that has one
        plan = choose_plan(verify, network, sampler)
        bar.set_description("verify")
        bar.reset(plan.conditions + len(graphs) * plan.drawn)
        reference = draw_reference(checkpoint, network, sampler, plan.conditions, bar.update)
        parity = {name: measure(part, graphs[name], reference, plan, bar.update) for name in graphs}
        write_whole(part / REFERENCE, _npz(reference))
        entries |= {REFERENCE: FileEntry(sha256_of(part / REFERENCE))}
        manifest = replace(manifest, files=entries, parity=parity)
        write_manifest(part, manifest)
    return manifest


def _manifest(checkpoint: Checkpoint, sampler: Sampler, files: dict[str, FileEntry]) -> Manifest:
    size = checkpoint.config.size
    source = {"checkpoint": checkpoint.sha256, "lineage": dict(checkpoint.lineage)}
    return Manifest(Image(checkpoint.config.channels, size, size), checkpoint.schema, sampler, files, {}, source)


def _npz(reference: Reference) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        seed=np.uint64(reference.seed),
        conditions=reference.conditions[:STORED],
        frames=reference.frames[:STORED],
    )
    return buffer.getvalue()
