"""The layout of a dataset on disk: one record a frame, every file whole or not there at all.

    OUT/dataset.json      what made it: bundle and checkpoint hash, schema, seed, count, epsilon/delta, complete;
                          at the end how many frames were rejected, and how many don't show what was asked for
    OUT/metadata.jsonl    one record a frame, in order of the index; each is appended after its frame is in place
    OUT/frames/00000000.png ...

    with FolderWriter("frames", description) as writer:         # goes on where an earlier run stopped
        for index in range(writer.written, description.count):
            writer.place(index, png)                            # thread-safe
            writer.append([record(index, seed, condition)])
    for entry in read_dataset("frames").records(): ...

It loads as a Hugging Face imagefolder; frames travel as PNG bytes, so that no image library is needed here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from contract.bundle import VERSION
from contract.conditions import Condition, Schema
from contract.errors import Refused
from contract.files import parse_json, write_whole

try:
    import fcntl
except ImportError:  # not a POSIX system: two runs into one folder are then the user's to avoid
    fcntl = None  # type: ignore[assignment]

FORMAT = "dms-edge/dataset@1"
DESCRIPTION = "dataset.json"
METADATA = "metadata.jsonl"
FRAMES = "frames"

Record = dict[str, Any]
_FRAME = re.compile(r"([0-9]{8})\.png(\.tmp)?")
READING = frozenset({"measured", "agrees"})
"""Keys of a record whose frame an annotator has read."""

TRYING = frozenset({"attempt", "tries"})
"""Keys of a record whose frame could be rejected: the attempt that was kept, and how many were drawn."""

_OWN = {DESCRIPTION, METADATA, FRAMES, DESCRIPTION + ".tmp"}


@dataclass(frozen=True)
class Description:
    """What made a dataset; two runs of the same command describe the same dataset."""

    bundle: str
    """Digest of the bundle's manifest when it was begun, for whoever looks the bundle up."""

    frames: str
    """`Manifest.frames_digest` of the file that draws it: the same after another export of the same graph."""

    checkpoint: str | None
    """sha256 of the checkpoint that the bundle was exported from."""

    schema: Schema
    seed: int
    count: int
    plan: Mapping[str, Any] = field(default_factory=dict)
    """Which conditions were asked for: `set`, `grid`."""

    backend: str = "cpu"
    """What draws it: two engines round differently, in int8 visibly so."""

    precision: str = "fp32"
    annotator: str | None = None
    """Precision of the annotator that read every frame, null where none did."""

    reject_below: float | None = None
    """Frames that were less likely to show what was asked for were drawn again; null where none was."""

    epsilon: float | None = None
    delta: float | None = None
    """Differential privacy of the checkpoint's training, null where it had none."""

    software: str = VERSION
    complete: bool = False
    rejected: int | None = None
    """Frames that were drawn and not kept; null without `reject_below`, and until all is complete."""

    disagreeing: int | None = None
    """Records whose `agrees` is false; null without `annotator`, and until all is complete."""

    def to_dict(self) -> dict[str, Any]:
        return {"format": FORMAT} | asdict(replace(self, schema=None)) | {"schema": self.schema.to_dict()}  # type: ignore[arg-type]

    @staticmethod
    def from_dict(data: Any) -> Description:
        """Read `dataset.json`; ValueError on anything unexpected."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"expected an object of the format {FORMAT}")
        own = {key: value for key, value in data.items() if key != "format"}
        if set(own) != set(Description.__dataclass_fields__):
            raise ValueError(f"expected the keys {', '.join(Description.__dataclass_fields__)}")
        if type(own["count"]) is not int or type(own["seed"]) is not int or type(own["complete"]) is not bool:
            raise ValueError("expected count and seed as integers and complete as true or false")
        _check_annotated(own)
        return Description(**own | {"schema": Schema.from_dict(own["schema"])})

    def same_run(self, other: Description) -> bool:
        """Whether both describe the same frames, finished or not."""
        return self._decisive() == other._decisive()

    def _decisive(self) -> Description:
        return replace(self, complete=False, software="", bundle="", rejected=None, disagreeing=None)


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk, opened for reading."""

    folder: Path
    description: Description

    def records(self, indices: Container[int] | None = None) -> Iterator[Record]:
        """The records in order of their index, or those of `indices`; Refused where one isn't what the schema says."""
        for number, line in enumerate(_lines(self.folder / METADATA)):
            if indices is not None and number not in indices:
                continue
            try:
                yield _checked_record(parse_json(line), number, self.description)
            except ValueError as error:
                raise Refused(f"{self.folder / METADATA}: line {number + 1}: {error}; generate it again") from error

    def condition(self, entry: Record) -> Condition:
        """The condition fields of a record."""
        return {name: entry[name] for name in self.description.schema.names}

    def frame_path(self, entry: Record) -> Path:
        return self.folder / str(entry["file_name"])


def read_dataset(folder: str | Path) -> Dataset:
    """Open a dataset for reading; Refused where it has no readable `dataset.json`."""
    return Dataset(Path(folder), _read_description(Path(folder)))


def record(index: int, seed: int, condition: Mapping[str, Any], reading: Mapping[str, Any] | None = None) -> Record:
    """The record of frame `index`: its file, how to draw it again, its labels, and what an annotator read from it."""
    asked = {"file_name": frame_name(index), "index": index, "seed": seed, **condition, "synthetic": True}
    return asked | dict(reading or {})


def frame_name(index: int) -> str:
    """Path of frame `index` inside the dataset."""
    return f"{FRAMES}/{index:08d}.png"


class Progress(NamedTuple):
    """What of a dataset is recorded; counted from the records, so that it outlives an interruption."""

    records: int = 0

    length: int = 0
    """Of `metadata.jsonl`, in bytes."""

    rejected: int = 0
    disagreeing: int = 0

    def plus(self, records: Sequence[Record], length: int) -> Progress:
        """The same with these records, which take so many bytes."""
        rejected = sum(entry.get("tries", 1) - 1 for entry in records)
        disagreeing = sum(entry.get("agrees") is False for entry in records)
        return Progress(
            self.records + len(records), self.length + length, self.rejected + rejected, self.disagreeing + disagreeing
        )


class FolderWriter:
    """Writes a dataset, or goes on with its own unfinished one.

    Every record has its frame at any moment, also after Ctrl-C or on a full disk. A folder that holds
    anything but this very dataset raises Refused. Use it as a context manager.
    """

    def __init__(self, folder: str | Path, description: Description) -> None:
        self.folder = Path(folder)
        self.description = description
        self._check_folder()
        (self.folder / FRAMES).mkdir(parents=True, exist_ok=True)
        if not (self.folder / DESCRIPTION).exists():
            self._describe(self.description)
        self._metadata = os.open(self.folder / METADATA, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._lock()
            self._done = self._recover()
            self._drop_unrecorded()
        except BaseException:
            os.close(self._metadata)
            raise

    def __enter__(self) -> FolderWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def written(self) -> int:
        """How many frames are recorded, from index 0 on."""
        return self._done.records

    @property
    def complete(self) -> bool:
        return self.written >= self.description.count

    def place(self, index: int, png: bytes) -> None:
        """Put the file of frame `index` in place; may be called from several threads."""
        write_whole(self.folder / frame_name(index), png, sync=False)

    def append(self, records: Sequence[Record]) -> None:
        """Append the next records, whose frames are in place: all of them, or none where the disk is full."""
        content = "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in records).encode()
        try:
            done = 0
            while done < len(content):
                done += os.pwrite(self._metadata, content[done:], self._done.length + done)
            self._done = self._done.plus(records, len(content))  # one store: Ctrl-C can't split it
        except OSError as error:
            error.filename = str(self.folder / METADATA)  # a failed write doesn't say of which file
            raise
        finally:
            os.ftruncate(self._metadata, self._done.length)

    def close(self) -> None:
        """Drop frames without a record, and mark the dataset complete where it is."""
        try:
            os.ftruncate(self._metadata, self._done.length)
            self._drop_unrecorded()
            os.fsync(self._metadata)
            if self.complete:
                self._describe(self._completed())
        finally:
            os.close(self._metadata)

    def _completed(self) -> Description:
        rejected = None if self.description.reject_below is None else self._done.rejected
        disagreeing = None if self.description.annotator is None else self._done.disagreeing
        return replace(self.description, complete=True, rejected=rejected, disagreeing=disagreeing)

    def _describe(self, description: Description) -> None:
        content = json.dumps(description.to_dict(), indent=1, allow_nan=False)
        write_whole(self.folder / DESCRIPTION, content.encode() + b"\n")

    def _check_folder(self) -> None:
        """Refuse a folder that holds anything but this dataset."""
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise Refused(f"{self.folder}: a file, expected a folder; name another with -o")
        names = set(os.listdir(self.folder))
        if foreign := sorted(names - _OWN):
            raise Refused(f"{self.folder}: holds {foreign[0]!r}, which is no part of a dataset; name another with -o")
        if names and DESCRIPTION not in names:
            if names - {DESCRIPTION + ".tmp", FRAMES} or self._frames():
                raise Refused(f"{self.folder}: holds files but no {DESCRIPTION}; name another folder with -o")
        elif names:
            found = _read_description(self.folder)
            if not found.same_run(self.description):
                difference = ", ".join(_differences(found, self.description))
                raise Refused(f"{self.folder}: holds another dataset (other {difference}); name another with -o")
            self._frames()

    def _lock(self) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._metadata, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = "another run is writing it; wait for it, or name another with -o"
                raise Refused(f"{self.folder}: {message}") from None

    def _recover(self) -> Progress:
        """The good records that are there; what follows the first bad one is cut off.

        A bad record is one that isn't whole, isn't in order, or whose frame is missing or empty, as a
        power cut can leave it.
        """
        done = Progress()
        for line in _lines(self.folder / METADATA):
            entry = self._good(line, done.records) if done.records < self.description.count else None
            if entry is None:
                break
            done = done.plus([entry], len(line))
        os.ftruncate(self._metadata, done.length)
        return done

    def _good(self, line: bytes, index: int) -> Record | None:
        try:
            entry = _checked_record(parse_json(line), index, self.description)
            return entry if line.endswith(b"\n") and (self.folder / entry["file_name"]).stat().st_size > 0 else None
        except (ValueError, OSError):
            return None

    def _drop_unrecorded(self) -> None:
        for name, index in self._frames():
            if index >= self.written or name.endswith(".tmp"):
                with contextlib.suppress(FileNotFoundError):
                    (self.folder / FRAMES / name).unlink()

    def _frames(self) -> list[tuple[str, int]]:
        """Names and indices of the files under `frames`; a foreign one is refused."""
        folder = self.folder / FRAMES
        found = []
        for name in os.listdir(folder) if folder.is_dir() else ():
            match = _FRAME.fullmatch(name)
            if not match:
                raise Refused(f"{folder}: holds {name!r}, which is no frame; name another folder with -o")
            found.append((name, int(match[1])))
        return found


def _read_description(folder: Path) -> Description:
    path = folder / DESCRIPTION
    try:
        return Description.from_dict(parse_json(path.read_bytes()))
    except FileNotFoundError:
        mend = f"generate a dataset: python -m runtime.generate BUNDLE -o {folder}"
        raise Refused(f"{path}: no such file; {mend}") from None
    except (ValueError, TypeError) as error:
        raise Refused(f"{path}: {error}; generate it again into another folder") from error


def _differences(found: Description, wanted: Description) -> list[str]:
    later = ("complete", "software", "rejected", "disagreeing")
    names = [name for name in Description.__dataclass_fields__ if name not in later]
    return [name for name in names if getattr(found, name) != getattr(wanted, name)]


def _checked_record(data: Any, index: int, description: Description) -> Record:
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


def _check_annotated(data: Mapping[str, Any]) -> None:
    """ValueError where `dataset.json` says odd things of an annotator."""
    below = data["reject_below"]
    good = isinstance(data["annotator"], (str, type(None))) and (below is None or data["annotator"] is not None)
    good = good and (below is None or (type(below) is float and 0 < below < 1))
    if not good or not all(data[key] is None or _is_count(data[key]) for key in ("rejected", "disagreeing")):
        raise ValueError("expected annotator as a name, reject_below from 0 to 1, rejected and disagreeing as counts")


def _is_count(value: object, most: float = float("inf")) -> bool:
    return type(value) is int and 0 <= value <= most


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            yield from file
    except FileNotFoundError:
        raise Refused(f"{path}: no such file; generate the dataset again") from None
