"""A dataset on disk: what made it, and its records.

    OUT/dataset.json      what made it: bundle and checkpoint hash, schema, seed, count, plan, epsilon/delta, complete;
                          once complete also how many attempts were rejected, and how many frames disagree
    OUT/metadata.jsonl    one record a frame, in order of the index
    OUT/frames/00000/00000000.png ...                      a thousand frames a folder

    for entry in read_dataset("frames").records(): ...

This is the folder layout, which loads as a Hugging Face imagefolder. Other layouts (`runtime.outputs`) hold the same
records and files in shards, and the same `dataset.json`.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from contract.bundle import VERSION
from contract.conditions import Schema
from contract.errors import Refused
from contract.field import Condition
from contract.files import parse_json, read_json
from contract.frame_record import Count, Record, check_record, frame_name, record
from contract.frames import ImageShape
from contract.noise import SEEDS
from contract.privacy_budget import StatedBudget, budget_of
from contract.record import Record as StoredRecord
from contract.record import convert, one_of

__all__ = ["Dataset", "Description", "Record", "frame_name", "read_dataset", "record"]

FORMAT = "dms-edge/dataset@1"
DESCRIPTION = "dataset.json"
METADATA = "metadata.jsonl"

LAYOUTS = ("folder", "webdataset", "parquet")

LATER = ("complete", "software", "bundle", "rejected", "disagreeing")
"""Fields of a description that may differ between two runs of one command."""

Probability = Annotated[float, Meta(gt=0, lt=1)]
ANNOTATED, TRIED = ("measured", "agrees", "landmarks"), ("attempt", "tries")
"""Keys of a record that an annotator fills in, and those that rejection sampling does."""


@dataclass(frozen=True)
class ClipShape:
    """How long each clip of a dataset is."""

    frames: Annotated[int, Meta(ge=1)]
    fps: Annotated[float, Meta(gt=0)]

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    def place(self, index: int, before: int = 0) -> dict[str, Any]:
        """The `clip` of the record of frame `index` of a run, which begins after so many clips of its dataset."""
        number, frame = divmod(index, self.frames)
        return {"index": before + number, "frame": frame, "seconds": frame / self.fps}


@dataclass(frozen=True)
class Description(StoredRecord):
    """What made a dataset; two runs of the same command describe the same dataset."""

    WHAT = DESCRIPTION

    bundle: str
    """Digest of the bundle's manifest when the dataset was begun, for whoever looks the bundle up."""

    frames: str
    """`Manifest.frames_digest` of the file that draws it: the same after another export of the same graph."""

    checkpoint: str | None
    """sha256 of the checkpoint that the bundle was exported from."""

    schema: Schema
    image: ImageShape
    seed: int
    count: Count
    plan: Mapping[str, Any] = field(default_factory=dict)
    """Which conditions were requested: `Plan.to_dict`."""

    clip: ClipShape | None = None
    """Length of the clips that the frames make up, null where each stands alone."""

    backend: str = "cpu"
    """What draws it: two engines round differently, in int8 visibly so."""

    precision: str = "fp32"
    annotator: str | None = None
    """Precision of the annotator that read every frame, null without one."""

    reject_below: Probability | None = None
    """Frames that were less likely to show their condition were drawn again; null where none was."""

    layout: Annotated[str, one_of(*LAYOUTS)] = "folder"
    codec: Annotated[str, one_of("png", "webp", "jpeg")] = "png"
    signed: bool = False
    """Whether every image holds a C2PA manifest; signed files are never equal byte by byte."""

    epsilon: float | None = None
    delta: float | None = None
    unit: str | None = None
    """Differential privacy of the checkpoint's training (`contract.privacy_budget`); null where it had none."""

    parts: tuple[Mapping[str, Any], ...] = ()
    """Descriptions of the finished datasets that this one was merged from, in order."""

    software: str = VERSION
    complete: bool = False
    rejected: Count | None = None
    """Attempts that were drawn and not kept; null without `reject_below`, and until the dataset is complete."""

    disagreeing: Count | None = None
    """Records whose `agrees` is false; null without `annotator`, and until the dataset is complete."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"seed {self.seed}; expected an integer from 0 to {SEEDS - 1}")
        if self.reject_below is not None and self.annotator is None:
            raise ValueError("reject_below without an annotator")
        budget_of({"epsilon": self.epsilon, "delta": self.delta, "unit": self.unit})

    @property
    def checkpoints(self) -> tuple[str | None, ...]:
        """sha256 of the checkpoint, of each part's where it was merged; None where it isn't named."""
        named = [part.get("checkpoint") for part in self.parts] if self.parts else [self.checkpoint]
        return tuple(str(sha256) if sha256 else None for sha256 in named)

    def to_dict(self) -> dict[str, Any]:
        """`dataset.json` as JSON values."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        clip = {"frames": self.clip.frames, "fps": self.clip.fps} if self.clip else None
        own |= {"schema": self.schema.to_dict(), "image": self.image._asdict(), "clip": clip}
        return {"format": FORMAT} | own | {"plan": dict(self.plan), "parts": [dict(part) for part in self.parts]}

    def to_bytes(self) -> bytes:
        """The content of `dataset.json`."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_dict(cls, data: object) -> Description:
        """Read `dataset.json`; ValueError on anything unexpected."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"expected an object of the format {FORMAT}")
        own = {key: value for key, value in data.items() if key != "format"}
        if missing := {each.name for each in fields(Description)} - set(own):
            raise ValueError(f"without {', '.join(sorted(missing))}")
        schema, image = Schema.from_dict(own.pop("schema")), convert(own.pop("image"), dict[str, Count], "image")
        if set(image) != set(ImageShape._fields):
            raise ValueError(f"image with {', '.join(image)}; expected {', '.join(ImageShape._fields)}")
        return convert(own | {"schema": schema, "image": ImageShape(**image)}, cls, DESCRIPTION)

    def differences(self, other: Description) -> list[str]:
        """Names of the fields in which two runs differ, but for what only a finished run knows."""
        names = [each.name for each in fields(self) if each.name not in LATER]
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def extends(self, other: Description) -> bool:
        """Whether the other run is the beginning of this larger one: neither has a grid or several cells."""
        if self.count <= other.count or set(self.differences(other)) != {"count", "plan"}:
            return False
        plans = [[dict(cell) for cell in plan.get("cells", ())] for plan in (self.plan, other.plan)]
        if any(len(cells) != 1 or cells[0].get("grid") for cells in plans):
            return False
        return bool(plans[0][0] | {"each": 0} == plans[1][0] | {"each": 0})

    def check(self, data: Any, index: int) -> Record:
        """The record at place `index`, or ValueError where it isn't this dataset's."""
        entry = check_record(data, self.schema)
        run, number, clips = self._run_of(index)
        wanted = {"file_name": frame_name(index, self.codec), "index": number, "seed": run.seed}
        if wrong := [key for key, value in wanted.items() if entry[key] != value]:
            raise ValueError(f"{wrong[0]} {entry[wrong[0]]!r}; expected {wanted[wrong[0]]!r}")
        for keys, applies in ((ANNOTATED, run.annotator), (TRIED, run.reject_below)):
            if odd := [key for key in keys if (entry[key] is None) != (applies is None)]:
                raise ValueError(f"{odd[0]} {entry[odd[0]]!r}, which isn't what {DESCRIPTION} says")
        place = run.clip.place(number, clips) if run.clip else None
        if entry["clip"] != place:
            raise ValueError(f"clip {entry['clip']!r}; expected {place!r}")
        return entry

    @property
    def privacy(self) -> tuple[StatedBudget | None, str]:
        """What is proven of everybody whom the dataset learnt from, and why nothing is, where nothing is."""
        budget = budget_of({"epsilon": self.epsilon, "delta": self.delta, "unit": self.unit})
        if budget is None and any(part.get("epsilon") is not None for part in self.parts):
            return None, "its parts come from several checkpoints, of which each has a budget of its own, or none"
        return budget, "" if budget else "the checkpoint wasn't trained with differential privacy"

    @property
    def clips(self) -> int:
        """How many clips the frames make up; those that stand alone count nothing."""
        if self.parts:
            return sum(run.clips for run in self._runs)
        return self.count // self.clip.frames if self.clip else 0

    def _run_of(self, index: int) -> tuple[Description, int, int]:
        """Which of the merged runs made the frame at place `index`, its index there, and the clips before that run."""
        if not self.parts:
            return self, index, 0
        clips = 0
        for run in self._runs:
            if index < run.count:
                return run, index, clips
            index, clips = index - run.count, clips + run.clips
        raise ValueError(f"a record more than the {self.count} of {DESCRIPTION}")

    @property
    def _runs(self) -> list[Description]:
        if "runs" not in self.__dict__:
            object.__setattr__(self, "runs", [Description.from_dict(dict(part)) for part in self.parts])
        runs: list[Description] = self.__dict__["runs"]
        return runs


@dataclass(frozen=True)
class Dataset:
    """A dataset folder, opened for reading."""

    folder: Path
    description: Description

    def records(self, indices: Container[int] | None = None) -> Iterator[Record]:
        """The records in order of their index, or those of `indices`; Refused where one isn't what the schema says."""
        for number, line in enumerate(metadata_lines(self.folder)):
            if indices is not None and number not in indices:
                continue
            try:
                yield self.description.check(parse_json(line), number)
            except ValueError as error:
                raise Refused(f"{self.folder / METADATA}: line {number + 1}: {error}; generate it again") from error

    def condition(self, entry: Record) -> Condition:
        """The condition fields of a record."""
        return {name: entry[name] for name in self.description.schema.names}

    def frame_path(self, entry: Record) -> Path:
        return self.folder / str(entry["file_name"])


def read_dataset(folder: str | Path) -> Dataset:
    """Open a dataset folder for reading; Refused where it has no readable `dataset.json`, or another layout."""
    description = read_description(Path(folder))
    if description.layout != "folder":
        fix = f"convert it: python -m runtime.merge {folder} -o FOLDER"
        raise Refused(f"{folder}: in the layout {description.layout}; expected folder; {fix}")
    return Dataset(Path(folder), description)


def is_drawn(folder: Path) -> bool:
    """Whether a model drew what a folder holds: `dataset.json` of recorded frames names their schema and no format.

    Raises Refused where that file isn't a JSON object.
    """
    return (folder / DESCRIPTION).is_file() and "format" in read_json(folder / DESCRIPTION)


def read_description(folder: Path) -> Description:
    """What `dataset.json` says; Refused where it isn't readable."""
    path = folder / DESCRIPTION
    try:
        return parse_description(path.read_bytes(), str(path))
    except FileNotFoundError:
        fix = f"generate a dataset: python -m runtime.generate BUNDLE -o {folder}"
        raise Refused(f"{path}: no such file; {fix}") from None


def parse_description(content: bytes, name: str) -> Description:
    """The content of `dataset.json`; Refused, by the file's name, where it isn't what it should be."""
    try:
        return Description.from_dict(parse_json(content))
    except (ValueError, TypeError) as error:
        raise Refused(f"{name}: {error}; generate the dataset again into another folder") from error


def to_line(entry: Record) -> bytes:
    """A record as its line of `metadata.jsonl`."""
    return json.dumps(entry, allow_nan=False).encode() + b"\n"


def metadata_lines(folder: Path) -> Iterator[bytes]:
    """The lines of `metadata.jsonl`, the last one perhaps cut short; Refused where there is no such file."""
    try:
        with open(folder / METADATA, "rb") as file:
            yield from file
    except FileNotFoundError:
        raise Refused(f"{folder / METADATA}: no such file; generate the dataset again") from None
