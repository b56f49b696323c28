"""What a folder of recordings holds, counted: images, drivers, labels on the schema, and labels that map onto nothing.

    survey = survey_folder(Path("recordings"), schema="cabin")
    survey.records, survey.drivers, survey.fields["lighting"].counts, survey.problems

Nothing is fixed and nothing is guessed. What training would refuse is collected as problems, all of it at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from contract.conditions import Schema
from contract.errors import EdgeError, Refused
from contract.field import Condition
from sources.imagefolder import labels_of, schema_of
from sources.images import read_picture
from sources.metadata import DRIVERS, metadata_files, read_rows
from sources.public.layouts import LAYOUTS, layout_of
from sources.public.mapping import LabelMapping, Meaning
from sources.public.record import IMAGES, Layout, read_layout
from sources.shards import DESCRIPTION, read_shards
from sources.splits import check_splits

MOST = 20
"""Problems that are kept of each kind, and drivers and values that are shown; their number is counted on."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]
"""Wraps a loop over images, which takes long."""


@dataclass
class FieldCount:
    """The labels of one field."""

    labelled: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """Of each class that occurs; empty for a number"""
    never: tuple[str, ...] = ()
    """Classes that never occur"""
    low: float | None = None
    high: float | None = None
    """Smallest and largest number; None for a class"""


@dataclass
class Survey:
    """What was found."""

    folder: str
    kind: str
    schema: str
    records: int = 0
    frames: int = 0
    """What all counts below count: images and frames of videos, a video of unknown length being one"""
    splits: Counter[str] = field(default_factory=Counter)
    drivers: Counter[str] = field(default_factory=Counter)
    images: Counter[str] = field(default_factory=Counter)
    """Of each size and kind, as `64 x 48 x 3 uint8`"""
    notes: Counter[str] = field(default_factory=Counter)
    """What is done to images so that they look as they are meant"""
    fields: dict[str, FieldCount] = field(default_factory=dict)
    unmapped: dict[str, Counter[str]] = field(default_factory=dict)
    """Labels without a meaning on the schema, by column"""
    clips: dict[str, Counter[str]] = field(default_factory=dict)
    """Labels of whole clips, which are no labels of frames, by column"""
    sources: tuple[str, ...] = ()
    """Where the layout is described"""
    cautions: tuple[str, ...] = ()
    problems: list[str] = field(default_factory=list)
    """What has to be put right before training"""
    more_problems: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    def problem(self, text: str) -> None:
        """Keep a problem, or count it where there are many."""
        if len(self.problems) < MOST:
            self.problems.append(text)
        else:
            self.more_problems += 1


def survey_folder(
    folder: Path,
    schema: str,
    layout: Layout | None = None,
    mapping: LabelMapping | None = None,
    images: bool = True,
    progress: Progress = lambda loop: loop,
) -> Survey:
    """Survey a folder of shards, an imagefolder with metadata, or a public layout, whichever it is.

    Without `images` none is decoded. Raises Refused for a folder that is none of them or can't be read at all.
    """
    if layout is None and (folder / DESCRIPTION).is_file():
        return _survey_shards(folder)
    if layout is None and metadata_files(folder):
        return _survey_rows(folder, schema, images, progress)
    layout = layout or layout_of(folder)
    if layout is None:
        known = ", ".join(LAYOUTS)
        raise Refused(f"{folder}: no {DESCRIPTION}, no metadata and none of the known layouts ({known})")
    return _survey_layout(folder, layout, schema_of(folder, schema), mapping, images, progress)


def _survey_shards(folder: Path) -> Survey:
    source = read_shards(folder)
    survey = Survey(str(folder), "shards", source.schema.name)
    survey.records = survey.frames = len(source.frames)
    image = source.image
    survey.images[f"{image.width} x {image.height} x {image.channels} uint8"] = survey.frames
    if source.subjects is not None:
        survey.drivers.update(map(str, source.subjects.tolist()))
    _count_labels(survey, source.schema, ((condition, 1) for condition in source.schema.decode(source.conditions)))
    return survey


def _survey_rows(folder: Path, name: str, images: bool, progress: Progress) -> Survey:
    schema, rows = schema_of(folder, name), list(read_rows(folder))
    survey, conditions = Survey(str(folder), "imagefolder", schema.name), list[Condition]()
    survey.records = survey.frames = len(rows)
    for row in rows:
        survey.splits[row.split] += 1
        if row.driver is not None:
            survey.drivers[row.driver] += 1
        try:
            conditions.append(labels_of(row, schema))
        except Refused as error:
            survey.problem(str(error))
        for column, value in row.values.items():
            if column not in schema.by_name and column not in DRIVERS:
                survey.unmapped.setdefault(column, Counter())[str(value)] += 1
    _check_drivers(survey, ((row.driver, row.split, row.where) for row in rows))
    _count_labels(survey, schema, ((condition, 1) for condition in conditions))
    if images:
        _look_at(survey, progress([row.image for row in rows]))
        if len({size.rsplit(" x ", 1)[0] for size in survey.images}) > 1:
            survey.problem(f"{folder}: images of several sizes; crop or scale them to one size")
    return survey


def _survey_layout(
    folder: Path, layout: Layout, schema: Schema, mapping: LabelMapping | None, images: bool, progress: Progress
) -> Survey:
    samples = read_layout(folder, layout, schema, mapping)
    survey = Survey(str(folder), layout.name, schema.name, sources=layout.sources, cautions=layout.cautions)
    meaning = Meaning(mapping or layout.mapping, schema)
    survey.records = len(samples)
    for sample in samples:
        survey.frames += sample.frames
        survey.splits[sample.split] += sample.frames
        survey.drivers[sample.driver] += sample.frames
        for column, value in sample.raw.items():
            if not meaning.of(column, value):
                survey.unmapped.setdefault(column, Counter())[value] += sample.frames
        for column, value in sample.clip.items():
            survey.clips.setdefault(column, Counter())[value] += sample.frames
    _count_labels(survey, schema, ((sample.labels, sample.frames) for sample in samples))
    if images:
        _look_at(survey, progress([s.file for s in samples if s.file.suffix.lower() in IMAGES]))
    return survey


def _check_drivers(survey: Survey, seen: Iterable[tuple[str | None, str, str]]) -> None:
    try:
        check_splits(seen)
    except Refused as error:
        survey.problem(str(error))


def _count_labels(survey: Survey, schema: Schema, labelled: Iterable[tuple[Condition, int]]) -> None:
    """Count conditions, each with the number of its frames."""
    survey.fields = {name: FieldCount() for name in schema.names}
    for condition, frames in labelled:
        for name, value in condition.items():
            found = survey.fields[name]
            found.labelled += frames
            if isinstance(value, str):
                found.counts[value] += frames
            else:
                found.low = value if found.low is None else min(found.low, value)
                found.high = value if found.high is None else max(found.high, value)
    for name, found in survey.fields.items():
        if found.labelled:
            found.never = tuple(value for value in schema.field(name).values if value not in found.counts)


def _look_at(survey: Survey, files: Iterable[Path]) -> None:
    for file in files:
        try:
            picture = read_picture(file)
        except EdgeError as error:
            survey.problem(str(error))
            continue
        height, width, channels = picture.pixels.shape
        survey.images[f"{width} x {height} x {channels} {picture.pixels.dtype}"] += 1
        survey.notes.update(picture.notes)
