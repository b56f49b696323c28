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

from contract.dataset import Record, frame_name, to_line
from contract.errors import Refused
from contract.files import MAYBE_TEMPORARY, TEMPORARY, parse_json
from contract.frame_record import FRAMES, PER_FOLDER
from runtime.outputs.dataset_writer import DatasetWriter
from runtime.outputs.progress import Progress
from runtime.outputs.record_log import open_log, stored_lines
from runtime.outputs.storage import Storage

_FOLDER = re.compile(r"[0-9]{5}")
_FRAME = re.compile(r"([0-9]{8})\.(png|webp|jpg)" + MAYBE_TEMPORARY)


class FolderWriter(DatasetWriter):
    """Writes a dataset folder, or goes on with its own unfinished one."""

    def place(self, index: int, content: bytes) -> None:
        self._storage.write(frame_name(index, self.description.codec), content)

    def _refuse_foreign(self) -> None:
        list(_files(self._storage))

    def _recover(self) -> Progress:
        """Count the good records, and cut off what follows the first bad one.

        A bad record is one that isn't whole, isn't in order, or whose frame is missing or empty, as a
        power cut can leave it.
        """
        self._log = open_log(self._storage)
        done, length = Progress(), 0
        for line in stored_lines(self._storage):
            entry = self._good(line, done.records) if done.records < self.description.count else None
            if entry is None:
                break
            done, length = done.plus([entry]), length + len(line)
        self._log.keep(done.records, length)
        self._drop_frames(done.records)
        return done

    def _record(self, records: Sequence[Record]) -> None:
        """All of them, or none where the disk is full."""
        self._log.append(b"".join(map(to_line, records)), len(records))
        self._progress = self._progress.plus(records)

    def _settle(self) -> Progress:
        try:
            self._drop_frames(self.written)
        finally:
            self._log.close(self.written >= self.description.count)
        return self._progress

    def _good(self, line: bytes, index: int) -> Record | None:
        try:
            entry = self.description.check(parse_json(line), index)
            return entry if line.endswith(b"\n") and self._storage.size(entry["file_name"]) > 0 else None
        except (ValueError, OSError):
            return None

    def _drop_frames(self, first: int) -> None:
        """Remove the frames from index `first` on, which have no record, and files that weren't finished."""
        for name, index in _files(self._storage, first // PER_FOLDER):
            if index >= first or name.endswith(TEMPORARY):
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
