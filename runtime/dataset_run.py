"""One run of a generator into a dataset: what it is described as, and the frames that aren't there yet.

description = describe(generator, plan, seed=7)
result = write_dataset(generator, plan, FolderWriter("frames", description), "frames")
result.new, result.description.disagreeing
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from contract.dataset import Dataset, Description, Record, record
from contract.plan import Plan
from pictures.contact_sheet import ContactSheet, contact_path
from runtime.batch import Batch
from runtime.generator import Generator
from runtime.outputs.writer import DatasetWriter, FrameOutput


class RunResult(NamedTuple):
    """What a run came to."""

    description: Description
    new: int
    """Frames that weren't there before."""

    contact_sheet: Path


def describe(generator: Generator, plan: Plan, seed: int, reject_below: float | None = None) -> Description:
    """The description of the dataset that this generator makes of a plan."""
    source, annotator = generator.manifest.source, generator.annotator
    lineage = source.get("lineage") or {}
    return Description(
        bundle=generator.manifest.digest,
        frames=generator.manifest.frames_digest(generator.choice.file, annotator.file if annotator else None),
        checkpoint=source.get("checkpoint"),
        schema=generator.schema,
        seed=seed,
        count=plan.count,
        plan=plan.to_dict(),
        backend=generator.choice.backend,
        precision=generator.choice.precision,
        annotator=annotator.precision if annotator else None,
        reject_below=reject_below,
        epsilon=lineage.get("epsilon"),
        delta=lineage.get("delta"),
    )


def records_of(batch: Batch, seed: int) -> list[Record]:
    """The records of a batch of a run with this seed."""
    rows = enumerate(batch.conditions)
    return [record(batch.start + row, seed, condition, batch.reading(row)) for row, condition in rows]


def write_dataset(generator: Generator, plan: Plan, writer: DatasetWriter, folder: str) -> RunResult:
    """Generate what the dataset doesn't hold yet, a batch at a time, and draw its contact sheet; closes the writer."""
    before, description = writer.written, writer.description
    sheet = ContactSheet(generator.schema, plan.count)
    seed, start = description.seed, before
    batches = generator.stream(plan.conditions(start), seed, start, reject_below=description.reject_below)
    with FrameOutput(writer) as output, tqdm(total=plan.count, initial=before, unit="frame", disable=None) as progress:
        for batch in batches:
            records = records_of(batch, seed)
            output.add(batch.frames, records)
            for frame, entry in zip(batch.frames, records, strict=True):
                sheet.add(entry["index"], frame, entry)
            progress.update(len(records))
    new = plan.count - before
    if new or not contact_path(folder).exists():
        sheet.add_missing(Dataset(Path(folder), writer.description))
        sheet.write(folder)
    return RunResult(writer.description, new, contact_path(folder))
