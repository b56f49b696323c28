"""The layout of a dataset on disk: one record a frame, every file whole or not there at all.

    OUT/dataset.json      what made it: bundle and checkpoint hash, schema, seed, count, epsilon/delta, complete
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

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

    precision: str = "fp32"
    epsilon: float | None = None
    delta: float | None = None
    """Differential privacy of the checkpoint's training, null where it had none."""

    software: str = VERSION
    complete: bool = False

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
        return Description(**own | {"schema": Schema.from_dict(own["schema"])})

    def same_run(self, other: Description) -> bool:
        """Whether both describe the same frames, finished or not."""
        return self._decisive() == other._decisive()

    def _decisive(self) -> Description:
        return replace(self, complete=False, software="", bundle="")


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk, opened for reading."""

    folder: Path
    description: Description

    def records(self) -> Iterator[Record]:
        """Every record in order of its index; Refused where one isn't what the schema says."""
        for number, line in enumerate(_lines(self.folder / METADATA)):
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


def record(index: int, seed: int, condition: Mapping[str, Any]) -> Record:
    """The record of frame `index`: its file, how to draw it again, its labels."""
    return {"file_name": frame_name(index), "index": index, "seed": seed, **condition, "synthetic": True}


def frame_name(index: int) -> str:
    """Path of frame `index` inside the dataset."""
    return f"{FRAMES}/{index:08d}.png"


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
            self._describe(complete=False)
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
        return self._done[0]

    @property
    def complete(self) -> bool:
        return self.written >= self.description.count

    def place(self, index: int, png: bytes) -> None:
        """Put the file of frame `index` in place; may be called from several threads."""
        write_whole(self.folder / frame_name(index), png, sync=False)

    def append(self, records: Sequence[Record]) -> None:
        """Append the next records, whose frames are in place: all of them, or none where the disk is full."""
        content = "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in records).encode()
        written, length = self._done
        try:
            done = 0
            while done < len(content):
                done += os.pwrite(self._metadata, content[done:], length + done)
            self._done = written + len(records), length + len(content)  # one store: Ctrl-C can't split it
        except OSError as error:
            error.filename = str(self.folder / METADATA)  # a failed write doesn't say of which file
            raise
        finally:
            os.ftruncate(self._metadata, self._done[1])

    def close(self) -> None:
        """Drop frames without a record, and mark the dataset complete where it is."""
        try:
            os.ftruncate(self._metadata, self._done[1])
            self._drop_unrecorded()
            os.fsync(self._metadata)
            if self.complete:
                self._describe(complete=True)
        finally:
            os.close(self._metadata)

    def _describe(self, complete: bool) -> None:
        content = json.dumps(replace(self.description, complete=complete).to_dict(), indent=1, allow_nan=False)
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

    def _recover(self) -> tuple[int, int]:
        """Number of good records and their length in bytes; what follows the first bad one is cut off.

        A bad record is one that isn't whole, isn't in order, or whose frame is missing or empty, as a
        power cut can leave it.
        """
        count = length = 0
        for line in _lines(self.folder / METADATA):
            if count >= self.description.count or not self._is_good(line, count):
                break
            count, length = count + 1, length + len(line)
        os.ftruncate(self._metadata, length)
        return count, length

    def _is_good(self, line: bytes, index: int) -> bool:
        try:
            entry = _checked_record(parse_json(line), index, self.description)
            return line.endswith(b"\n") and (self.folder / entry["file_name"]).stat().st_size > 0
        except (ValueError, OSError):
            return False

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
    names = [name for name in Description.__dataclass_fields__ if name not in ("complete", "software")]
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
    return data


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            yield from file
    except FileNotFoundError:
        raise Refused(f"{path}: no such file; generate the dataset again") from None
