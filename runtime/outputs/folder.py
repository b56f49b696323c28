"""The folder format: an image file for each frame, and a line of `metadata.jsonl` for each record.

    with FolderWriter("frames", description) as writer:         # goes on where an earlier run stopped
        for index in range(writer.written, description.count):
            writer.place(index, png)                            # thread-safe
            writer.append([record(index, seed, condition)])

Every record has its frame at any moment, also after Ctrl-C, a kill or on a full disk: a file appears whole or not at
all, and a line is appended after its frame is in place.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from contract.dataset import (
    DESCRIPTION,
    FRAMES,
    METADATA,
    Description,
    Record,
    check_record,
    frame_name,
    metadata_lines,
    read_description,
    to_line,
)
from contract.errors import Refused
from contract.files import parse_json, write_whole

try:
    import fcntl
except ImportError:  # not a POSIX system: two runs into one folder are then the user's to avoid
    fcntl = None  # type: ignore[assignment]

_FRAME = re.compile(r"([0-9]{8})\.png(\.tmp)?")
_OWN = {DESCRIPTION, METADATA, FRAMES, DESCRIPTION + ".tmp"}


class Progress(NamedTuple):
    """How much of a dataset is recorded; counted from the records, so that it outlives an interruption."""

    records: int = 0

    length: int = 0
    """Of `metadata.jsonl`, in bytes."""

    rejected: int = 0
    disagreeing: int = 0

    def plus(self, records: Sequence[Record], length: int) -> Progress:
        """The same with these records, which take `length` bytes."""
        rejected = sum(entry.get("tries", 1) - 1 for entry in records)
        disagreeing = sum(entry.get("agrees") is False for entry in records)
        return Progress(
            self.records + len(records), self.length + length, self.rejected + rejected, self.disagreeing + disagreeing
        )


class FolderWriter:
    """Writes a dataset folder, or goes on with its own unfinished one.

    A folder that holds anything but this very dataset raises Refused. Use it as a context manager.
    """

    def __init__(self, folder: str | Path, description: Description) -> None:
        self.folder = Path(folder)
        self.description = description
        self._check_folder()
        (self.folder / FRAMES).mkdir(parents=True, exist_ok=True)
        if not (self.folder / DESCRIPTION).exists():
            self._write_description()
        self._metadata = os.open(self.folder / METADATA, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            self._lock()
            self._progress = self._recover()
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
        return self._progress.records

    @property
    def complete(self) -> bool:
        return self.written >= self.description.count

    def place(self, index: int, content: bytes) -> None:
        """Put the file of frame `index` in place; may be called from several threads."""
        write_whole(self.folder / frame_name(index), content, sync=False)

    def append(self, records: Sequence[Record]) -> None:
        """Append the next records, whose frames are in place: all of them, or none where the disk is full."""
        content = b"".join(map(to_line, records))
        try:
            done = 0
            while done < len(content):
                done += os.pwrite(self._metadata, content[done:], self._progress.length + done)
            self._progress = self._progress.plus(records, len(content))  # one store: Ctrl-C can't split it
        except OSError as error:
            error.filename = str(self.folder / METADATA)  # a failed write doesn't say of which file
            raise
        finally:
            os.ftruncate(self._metadata, self._progress.length)

    def close(self) -> None:
        """Drop frames without a record, and mark the dataset complete where it is; `description` then says so."""
        try:
            os.ftruncate(self._metadata, self._progress.length)
            self._drop_unrecorded()
            os.fsync(self._metadata)
            if self.complete:
                self.description = self._completed()
                self._write_description()
        finally:
            os.close(self._metadata)

    def _completed(self) -> Description:
        rejected = None if self.description.reject_below is None else self._progress.rejected
        disagreeing = None if self.description.annotator is None else self._progress.disagreeing
        return replace(self.description, complete=True, rejected=rejected, disagreeing=disagreeing)

    def _write_description(self) -> None:
        content = json.dumps(self.description.to_dict(), indent=1, allow_nan=False)
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
            found = read_description(self.folder)
            if difference := found.differences(self.description):
                others = ", ".join(difference)
                raise Refused(f"{self.folder}: holds another dataset (other {others}); name another with -o")
            self._frames()

    def _lock(self) -> None:
        if fcntl is not None:
            try:
                fcntl.flock(self._metadata, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = "another run is writing it; wait for it, or name another with -o"
                raise Refused(f"{self.folder}: {message}") from None

    def _recover(self) -> Progress:
        """Count the good records, and cut off what follows the first bad one.

        A bad record is one that isn't whole, isn't in order, or whose frame is missing or empty, as a
        power cut can leave it.
        """
        done = Progress()
        for line in metadata_lines(self.folder):
            entry = self._good(line, done.records) if done.records < self.description.count else None
            if entry is None:
                break
            done = done.plus([entry], len(line))
        os.ftruncate(self._metadata, done.length)
        return done

    def _good(self, line: bytes, index: int) -> Record | None:
        try:
            entry = check_record(parse_json(line), index, self.description)
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
