"""One run of a generator into a dataset: what it is described as, and the frames that aren't there yet.

settings = RunSettings(seed=7)
description = describe(generator, plan, settings)
result = write_dataset(generator, plan, open_writer("frames", description), "frames")
result.new, result.description.disagreeing
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from contract.dataset import ClipShape, Description, Record, record
from contract.errors import Refused
from contract.privacy_budget import budget_of
from contract.progress import progress_bar
from pictures.contact_sheet import ContactSheet, contact_path
from runtime.batch import Batch
from runtime.clip_videos import write_videos
from runtime.clips import ClipPlan, FramePlan, write_clips
from runtime.generator import Generator
from runtime.outputs.dataset_writer import DatasetWriter
from runtime.outputs.images import decode_image
from runtime.outputs.labels import write_labels
from runtime.outputs.reader import open_dataset
from runtime.outputs.signing import FrameSigner
from runtime.outputs.writer import FrameOutput


@dataclass(frozen=True)
class RunSettings:
    """What a run is asked for beside its plan."""

    seed: int = 0
    reject_below: float | None = None
    layout: str = "folder"
    codec: str = "png"
    signed: bool = False
    clip: ClipShape | None = None


class RunResult(NamedTuple):
    """What a run came to."""

    description: Description
    new: int
    """Frames that weren't there before."""

    contact_sheet: Path | None
    """None where the dataset isn't on this machine, or nothing can be written beside it."""


def describe(generator: Generator, plan: FramePlan, settings: RunSettings) -> Description:
    """The description of the dataset that this generator makes of a plan; Refused for a lineage with an odd budget."""
    source, annotator = generator.manifest.source, generator.annotator
    try:
        budget = budget_of(source.get("lineage") or {})
    except ValueError as error:
        raise Refused(f"the bundle's lineage: {error}; export it again, from a checkpoint that says which") from error
    return Description(
        bundle=generator.manifest.digest,
        frames=generator.manifest.frames_digest(generator.choice.file, annotator.file if annotator else None),
        checkpoint=source.get("checkpoint"),
        schema=generator.schema,
        image=generator.manifest.image,
        seed=settings.seed,
        count=plan.count,
        plan=plan.to_dict(),
        clip=settings.clip,
        backend=generator.choice.backend,
        precision=generator.choice.precision,
        annotator=annotator.precision if annotator else None,
        reject_below=settings.reject_below,
        layout=settings.layout,
        codec=settings.codec,
        signed=settings.signed,
        **(budget._asdict() if budget else {}),
    )


def records_of(batch: Batch, seed: int, codec: str = "png", clip: ClipShape | None = None) -> list[Record]:
    """The records of a batch of a run with this seed; with `clip`, each says where in its clip it is."""
    records = []
    for row, (index, condition) in enumerate(enumerate(batch.conditions, batch.start)):
        reading = {**batch.reading(row), "clip": clip.place(index) if clip else None}
        records.append(record(index, seed, condition, reading, codec))
    return records


def draw(generator: Generator, plan: FramePlan, run: RunSettings | Description, indices: range) -> Iterator[Batch]:
    """The frames of these indices; clips that may be rejected are drawn and judged whole, whatever is asked of them."""
    frames = run.clip.frames if run.clip else 1
    whole = 1 if run.reject_below is None else frames
    first, end = indices.start // whole * whole, -(-indices.stop // whole) * whole
    conditions = itertools.islice(plan.conditions(run.seed, first), end - first)
    for batch in generator.stream(conditions, run.seed, first, reject_below=run.reject_below, clip_frames=frames):
        if part := batch.within(indices):
            yield part


def write_dataset(
    generator: Generator, plan: FramePlan, writer: DatasetWriter, address: str, signer: FrameSigner | None = None
) -> RunResult:
    """Generate what the dataset doesn't hold yet, a batch at a time, and draw its contact sheet; closes the writer."""
    before, description = writer.written, writer.description
    sheet = ContactSheet(generator.schema, plan.count)
    rejected = 0
    with (
        FrameOutput(writer, signer) as output,
        progress_bar(total=plan.count, initial=before, unit="frame") as bar,
    ):
        for batch in draw(generator, plan, description, range(before, plan.count)):
            records = records_of(batch, description.seed, description.codec, description.clip)
            output.add(batch.frames, records)
            for frame, entry in zip(batch.frames, records, strict=True):
                sheet.add(entry["index"], frame, entry)
            if description.reject_below is not None:
                rejected += sum(entry["tries"] - 1 for entry in records)
                bar.set_postfix(rejected=rejected, refresh=False)
            bar.update(len(records))
    new = plan.count - before
    return RunResult(writer.description, new, draw_contact_sheet(sheet, address, new > 0))


def write_derived(
    address: str, plan: FramePlan, labels: Sequence[str], video: bool = False, signer: FrameSigner | None = None
) -> None:
    """Write what is made from a finished dataset and isn't there yet: figures and videos of its clips, labels."""
    if isinstance(plan, ClipPlan):
        write_clips(open_dataset(address), plan)
        if video:
            write_videos(open_dataset(address), signer)
    for name in labels:
        write_labels(open_dataset(address), name)


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
        try:
            sheet.write(address)
        except OSError as error:  # a volume is mounted for the dataset, and nothing can be written beside it
            print(f"{path}: {error.strerror or error}; the dataset is complete without it", file=sys.stderr)
            return None
    return path
