"""An annotator on disk by itself, before a checkpoint carries it.

write_annotator("annotator.pt", trained, schema)
trained, schema, sha256 = read_annotator("annotator.pt")
"""

from __future__ import annotations

import io
from pathlib import Path

import torch

from contract.conditions import Schema
from contract.errors import Refused
from contract.files import write_whole
from models.annotator import TrainedAnnotator
from models.safe_load import load_archive

FORMAT = "dms-edge/annotator@1"


def write_annotator(path: Path, annotator: TrainedAnnotator, schema: Schema) -> None:
    """Write an annotator by itself, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "schema": schema.to_dict(), "annotator": annotator.to_dict()}, buffer)
    write_whole(path, buffer.getvalue())


def read_annotator(path: Path) -> tuple[TrainedAnnotator, Schema, str]:
    """What `write_annotator` wrote, its schema and its sha256; Refused for anything else."""
    content, sha256 = load_archive(path)
    if not isinstance(content, dict) or set(content) != {"format", "schema", "annotator"}:
        raise Refused(f"{path}: no annotator; train one with python -m training.train_annotator")
    if content["format"] != FORMAT:
        raise Refused(f"{path}: format {str(content['format'])[:60]!r}, this software reads {FORMAT}")
    schema = Schema.from_dict(content["schema"])
    return TrainedAnnotator.from_dict(content["annotator"], schema), schema, sha256
