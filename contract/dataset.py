"""The layout of a dataset on disk: what made it, and one record a frame.

    OUT/dataset.json      what made it: bundle and checkpoint hash, schema, seed, count, epsilon/delta, complete;
                          once complete also how many frames were rejected, and how many disagree with their condition
    OUT/metadata.jsonl    one record a frame, in order of the index
    OUT/frames/00000000.png ...

    for entry in read_dataset("frames").records(): ...

It loads as a Hugging Face imagefolder. `runtime.outputs` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from contract.bundle import VERSION
from contract.conditions import Condition, Schema
from contract.errors import Refused
from contract.files import parse_json
from contract.noise import SEEDS

FORMAT = "dms-edge/dataset@1"
DESCRIPTION = "dataset.json"
METADATA = "metadata.jsonl"
FRAMES = "frames"

Record = dict[str, Any]
READING = frozenset({"measured", "agrees"})
"""Keys of a record whose frame an annotator has read."""

TRYING = frozenset({"attempt", "tries"})
"""Keys of a record whose frame could be rejected: the attempt that was kept, and how many were drawn."""

Count = Annotated[int, Meta(ge=0)]
Probability = Annotated[float, Meta(gt=0, lt=1)]

LATER = ("complete", "software", "bundle", "rejected", "disagreeing")
"""Fields of a description that may differ between two runs of one command."""


@dataclass(frozen=True)
class Description:
    """What made a dataset; two runs of the same command describe the same dataset."""

    bundle: str
    """Digest of the bundle's manifest when the dataset was begun, for whoever looks the bundle up."""

    frames: str
    """`Manifest.frames_digest` of the file that draws it: the same after another export of the same graph."""

    checkpoint: str | None
    """sha256 of the checkpoint that the bundle was exported from."""

    schema: Schema
    seed: int
    count: Count
    plan: Mapping[str, Any] = field(default_factory=dict)
    """Which conditions were requested: `set`, `grid`."""

    backend: str = "cpu"
    """What draws it: two engines round differently, in int8 visibly so."""

    precision: str = "fp32"
    annotator: str | None = None
    """Precision of the annotator that read every frame, null without one."""

    reject_below: Probability | None = None
    """Frames that were less likely to show their condition were drawn again; null where none was."""

    epsilon: float | None = None
    delta: float | None = None
    """Differential privacy of the checkpoint's training, null where it had none."""

    software: str = VERSION
    complete: bool = False
    rejected: Count | None = None
    """Frames that were drawn and not kept; null without `reject_below`, and until the dataset is complete."""

    disagreeing: Count | None = None
    """Records whose `agrees` is false; null without `annotator`, and until the dataset is complete."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"seed {self.seed}; expected an integer from 0 to {SEEDS - 1}")
        if self.reject_below is not None and self.annotator is None:
            raise ValueError("reject_below without an annotator")

    def to_dict(self) -> dict[str, Any]:
        """`dataset.json` as JSON values."""
        return {"format": FORMAT} | asdict(replace(self, schema=None)) | {"schema": self.schema.to_dict()}  # type: ignore[arg-type]

    @staticmethod
    def from_dict(data: object) -> Description:
        """Read `dataset.json`; ValueError on anything unexpected."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"expected an object of the format {FORMAT}")
        own = {key: value for key, value in data.items() if key != "format"}
        names = [field.name for field in fields(Description)]
        if set(own) != set(names):
            raise ValueError(f"expected the keys {', '.join(names)}")
        return msgspec.convert(own | {"schema": Schema.from_dict(own["schema"])}, Description)

    def same_run(self, other: Description) -> bool:
        """Whether both describe the same frames, finished or not."""
        return not self.differences(other)

    def differences(self, other: Description) -> list[str]:
        """Names of the fields in which two runs differ, but for what only a finished run knows."""
        names = [field.name for field in fields(self) if field.name not in LATER]
        return [name for name in names if getattr(self, name) != getattr(other, name)]


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk, opened for reading."""

    folder: Path
    description: Description

    def records(self, indices: Container[int] | None = None) -> Iterator[Record]:
        """The records in order of their index, or those of `indices`; Refused where one isn't what the schema says."""
        for number, line in enumerate(metadata_lines(self.folder)):
            if indices is not None and number not in indices:
                continue
            try:
                yield check_record(parse_json(line), number, self.description)
            except ValueError as error:
                raise Refused(f"{self.folder / METADATA}: line {number + 1}: {error}; generate it again") from error

    def condition(self, entry: Record) -> Condition:
        """The condition fields of a record."""
        return {name: entry[name] for name in self.description.schema.names}

    def frame_path(self, entry: Record) -> Path:
        return self.folder / str(entry["file_name"])


def read_dataset(folder: str | Path) -> Dataset:
    """Open a dataset for reading; Refused where it has no readable `dataset.json`."""
    return Dataset(Path(folder), read_description(Path(folder)))


def read_description(folder: Path) -> Description:
    """What `dataset.json` says; Refused where it isn't readable."""
    path = folder / DESCRIPTION
    try:
        return Description.from_dict(parse_json(path.read_bytes()))
    except FileNotFoundError:
        fix = f"generate a dataset: python -m runtime.generate BUNDLE -o {folder}"
        raise Refused(f"{path}: no such file; {fix}") from None
    except (ValueError, TypeError) as error:
        raise Refused(f"{path}: {error}; generate it again into another folder") from error


def record(index: int, seed: int, condition: Mapping[str, Any], reading: Mapping[str, Any] | None = None) -> Record:
    """The record of frame `index`: its file, how to draw it again, its labels, and what an annotator read from it."""
    own = {"file_name": frame_name(index), "index": index, "seed": seed, **condition, "synthetic": True}
    return own | dict(reading or {})


def frame_name(index: int) -> str:
    """Path of frame `index` inside the dataset."""
    return f"{FRAMES}/{index:08d}.png"


def check_record(data: Any, index: int, description: Description) -> Record:
    """The record of frame `index`, or ValueError."""
    if not isinstance(data, dict):
        raise ValueError("expected an object")
    names = description.schema.names
    wanted = record(index, description.seed, {})
    if any(data.get(key) != value for key, value in wanted.items()) or any(name not in data for name in names):
        raise ValueError(f"expected the record of frame {index} with {', '.join((*wanted, *names))}")
    description.schema.check({name: data[name] for name in names})
    _check_reading(data, description)
    return data


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


def _check_reading(data: Record, description: Description) -> None:
    """ValueError where a record doesn't hold what `dataset.json` says that an annotator read."""
    wanted = (READING if description.annotator else set()) | (TRYING if description.reject_below else set())
    if wanted != (READING | TRYING) & set(data):
        raise ValueError(f"expected {', '.join(sorted(wanted)) or 'nothing'} from an annotator, as {DESCRIPTION} says")
    if "measured" in wanted:
        measured, names = data["measured"], description.schema.names
        if not isinstance(measured, dict) or set(measured) != set(names) or type(data["agrees"]) is not bool:
            raise ValueError("expected measured with every field of the schema, and agrees as true or false")
        shown = {name: value for name, value in measured.items() if value is not None}
        description.schema.check(shown)
        if any(isinstance(value, str) is not description.schema.field(name).is_class for name, value in shown.items()):
            raise ValueError("expected measured with names of classes, and numbers")
    if "tries" in wanted and not (_is_count(data["tries"]) and _is_count(data["attempt"], data["tries"] - 1)):
        raise ValueError("expected tries as a whole number, and attempt as one below it")


def _is_count(value: object, most: float = float("inf")) -> bool:
    return type(value) is int and 0 <= value <= most
