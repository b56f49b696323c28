"""What a bundle or a checkpoint says that it learnt from.

    model = read_model_lineage(Path("bundle"))
    seen_drivers(model.complete, ["anna", "ben"])                # those of them that any step was trained on

A checkpoint says it by salted hashes in its lineage, and a bundle repeats that lineage.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from contract.bundle import ANNOTATORS, read_manifest
from contract.driver_hashes import training_steps
from contract.errors import Refused


class ModelLineage(NamedTuple):
    """Of one bundle or checkpoint."""

    path: Path
    checkpoint: str | None
    """sha256 of the checkpoint that it is, or was exported from."""

    lineage: Mapping[str, Any]
    """As the checkpoint has it; empty where it says nothing."""

    held_out: object
    """The figures of the annotator that it carries, which name the frames that this was trained on; None without."""

    @property
    def complete(self) -> object:
        """The lineage with the annotator that is carried."""
        return with_annotator(self.lineage, self.held_out)


def read_model_lineage(path: Path) -> ModelLineage:
    """Of a bundle's folder, or the file of a checkpoint or annotator; Refused where it is neither, or damaged."""
    if path.is_dir():
        manifest = read_manifest(path)
        lineage, annotator = manifest.source.get("lineage"), manifest.files.get(ANNOTATORS["fp32"])
        held_out = annotator.extra.get("held_out") if annotator else None
        listed = lineage if isinstance(lineage, Mapping) else {}
        return ModelLineage(path, manifest.source.get("checkpoint"), listed, held_out)
    from models.checkpoint import is_annotator, read_annotator, read_checkpoint  # torch, which a bundle doesn't need

    try:
        checkpoint = read_checkpoint(path)
    except Refused:
        if not is_annotator(path):
            raise
        alone, _, sha256 = read_annotator(path)
        return ModelLineage(path, sha256, alone.lineage, None)
    carried = checkpoint.annotator
    return ModelLineage(path, checkpoint.sha256, checkpoint.lineage, carried.held_out if carried else None)


def with_annotator(lineage: object, held_out: object) -> object:
    """The lineage, unknown in one step where it carries an annotator that says nothing, of frames that it doesn't list.

    `held_out` are the annotator's figures, which name the frames that it was trained on; None without an annotator.
    """
    if not isinstance(held_out, Mapping) or not isinstance(lineage, Mapping) or "annotator" in lineage:
        return lineage
    listed = held_out.get("data") in {step.get("data") for step in training_steps(lineage)}
    return lineage if listed else {**lineage, "annotator": {"drivers": None}}
