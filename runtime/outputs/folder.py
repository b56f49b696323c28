"""The folder layout: an image file for each frame, and a line of `metadata.jsonl` for each record.

    with FolderWriter("frames", description) as writer:         # goes on where an earlier run stopped
        for index in range(writer.written, description.count):
            writer.place(index, png)                            # thread-safe
            writer.append([record(index, seed, condition)])

Every record has its frame at any moment, also after Ctrl-C, a kill or on a full disk: a file appears whole or not at
all, and a line is appended after its frame is in place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from contract.dataset import DESCRIPTION, Description, Record, frame_name, to_line
from contract.errors import Refused
from contract.files import parse_json
from contract.frame_record import FRAMES, PER_FOLDER
from runtime.outputs.claim import claim
from runtime.outputs.progress import Progress
from runtime.outputs.record_log import open_log, stored_lines
from runtime.outputs.storage import Storage, open_storage
from runtime.outputs.uninterrupted import uninterrupted

_FOLDER = re.compile(r"[0-9]{5}")
_FRAME = re.compile(r"([0-9]{8})\.(png|webp|jpg)(\.tmp)?")


class FolderWriter:
    """Writes a dataset folder, or goes on with its own unfinished one.

    A folder that holds anything but this very dataset raises Refused. Use it as a context manager.
    """

    def __init__(self, address: str | Path, description: Description) -> None:
        self._storage = open_storage(address)
        list(_files(self._storage))  # refuses what is no frame before anything is written
        self.description = claim(self._storage, description)
        try:
            self._log = open_log(self._storage)
            self._progress = self._recover()
            self._drop_unrecorded()
        except BaseException:
            self._storage.close()
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
        self._storage.write(frame_name(index, self.description.codec), content)

    def append(self, records: Sequence[Record]) -> None:
        """Append the next records, whose frames are in place: all of them, or none where the disk is full."""
        with uninterrupted():
            self._log.append(b"".join(map(to_line, records)), len(records))
            self._progress = self._progress.plus(records)

    def close(self) -> None:
        """Drop frames without a record, and mark the dataset complete where it is; `description` then says so."""
        try:
            try:
                self._drop_unrecorded()
            finally:
                self._log.close(self.complete)
            if self.complete:
                self.description = self._progress.completed(self.description)
                self._storage.write(DESCRIPTION, self.description.to_bytes())
        finally:
            self._storage.close()

    def _recover(self) -> Progress:
        """Count the good records, and cut off what follows the first bad one.

        A bad record is one that isn't whole, isn't in order, or whose frame is missing or empty, as a
        power cut can leave it.
        """
        done, length = Progress(), 0
        for line in stored_lines(self._storage):
            entry = self._good(line, done.records) if done.records < self.description.count else None
            if entry is None:
                break
            done, length = done.plus([entry]), length + len(line)
        self._log.keep(done.records, length)
        return done

    def _good(self, line: bytes, index: int) -> Record | None:
        try:
            entry = self.description.check(parse_json(line), index)
            return entry if line.endswith(b"\n") and self._storage.size(entry["file_name"]) > 0 else None
        except (ValueError, OSError):
            return None

    def _drop_unrecorded(self) -> None:
        for name, index in _files(self._storage, self.written // PER_FOLDER):
            if index >= self.written or name.endswith(".tmp"):
                self._storage.remove(name)


def _files(storage: Storage, first: int = 0) -> Iterator[tuple[str, int]]:
    """Names and indices of the frames from folder `first` on; Refused for a file that is none."""
    for folder in storage.names(FRAMES):
        if not _FOLDER.fullmatch(folder):
            raise _foreign(storage, f"{FRAMES}/{folder}")
        for name in storage.names(f"{FRAMES}/{folder}") if int(folder) >= first else ():
            match = _FRAME.fullmatch(name)
            if not match or int(match[1]) // PER_FOLDER != int(folder):
                raise _foreign(storage, f"{FRAMES}/{folder}/{name}")
            yield f"{FRAMES}/{folder}/{name}", int(match[1])


def _foreign(storage: Storage, name: str) -> Refused:
    return Refused(f"{storage.address}: holds {name!r}, which is no frame; name another folder with -o")
