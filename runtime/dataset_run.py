"""One run of a generator into a dataset: what it is described as, and the frames that aren't there yet.

settings = RunSettings(seed=7)
description = describe(generator, plan, settings)
result = write_dataset(generator, plan, open_writer("frames", description), "frames")
result.new, result.description.disagreeing
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from contract.dataset import Description, Record, record
from contract.plan import Plan
from pictures.contact_sheet import ContactSheet, contact_path
from runtime.batch import Batch
from runtime.generator import Generator
from runtime.outputs.images import decode_image
from runtime.outputs.reader import open_dataset
from runtime.outputs.signing import FrameSigner
from runtime.outputs.writer import DatasetWriter, FrameOutput


@dataclass(frozen=True)
class RunSettings:
    """What a run is asked for beside its plan."""

    seed: int = 0
    reject_below: float | None = None
    layout: str = "folder"
    codec: str = "png"
    signed: bool = False


class RunResult(NamedTuple):
    """What a run came to."""

    description: Description
    new: int
    """Frames that weren't there before."""

    contact_sheet: Path | None
    """None where the dataset isn't on this machine."""


def describe(generator: Generator, plan: Plan, settings: RunSettings) -> Description:
    """The description of the dataset that this generator makes of a plan."""
    source, annotator = generator.manifest.source, generator.annotator
    lineage = source.get("lineage") or {}
    return Description(
        bundle=generator.manifest.digest,
        frames=generator.manifest.frames_digest(generator.choice.file, annotator.file if annotator else None),
        checkpoint=source.get("checkpoint"),
        schema=generator.schema,
        image=generator.manifest.image,
        seed=settings.seed,
        count=plan.count,
        plan=plan.to_dict(),
        backend=generator.choice.backend,
        precision=generator.choice.precision,
        annotator=annotator.precision if annotator else None,
        reject_below=settings.reject_below,
        layout=settings.layout,
        codec=settings.codec,
        signed=settings.signed,
        epsilon=lineage.get("epsilon"),
        delta=lineage.get("delta"),
        unit=lineage.get("unit"),
    )


def records_of(batch: Batch, seed: int, codec: str = "png") -> list[Record]:
    """The records of a batch of a run with this seed."""
    rows = enumerate(batch.conditions)
    return [record(batch.start + row, seed, condition, batch.reading(row), codec) for row, condition in rows]


def write_dataset(
    generator: Generator, plan: Plan, writer: DatasetWriter, address: str, signer: FrameSigner | None = None
) -> RunResult:
    """Generate what the dataset doesn't hold yet, a batch at a time, and draw its contact sheet; closes the writer."""
    before, description = writer.written, writer.description
    sheet = ContactSheet(generator.schema, plan.count)
    seed, start = description.seed, before
    batches = generator.stream(plan.conditions(seed, start), seed, start, reject_below=description.reject_below)
    rejected = 0
    with (
        FrameOutput(writer, signer) as output,
        tqdm(total=plan.count, initial=before, unit="frame", disable=None) as progress,
    ):
        for batch in batches:
            records = records_of(batch, seed, description.codec)
            output.add(batch.frames, records)
            for frame, entry in zip(batch.frames, records, strict=True):
                sheet.add(entry["index"], frame, entry)
            if description.reject_below is not None:
                rejected += sum(entry["tries"] - 1 for entry in records)
                progress.set_postfix(rejected=rejected, refresh=False)
            progress.update(len(records))
    new = plan.count - before
    return RunResult(writer.description, new, draw_contact_sheet(sheet, address, new > 0))


def draw_contact_sheet(sheet: ContactSheet, address: str, changed: bool) -> Path | None:
    """Write the sheet beside a dataset on this machine, with what it lacks read from there; None for an address."""
    if "://" in address:
        return None
    path = contact_path(address)
    if changed or not path.exists():
        missing, dataset = sheet.missing, open_dataset(address)
        for place, sample in enumerate(dataset.samples()) if missing else ():
            if place in missing:
                sheet.add(place, decode_image(sample.content, dataset.description.image.channels), sample.record)
        sheet.write(address)
    return path
