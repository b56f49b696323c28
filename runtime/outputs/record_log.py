"""The records of a folder dataset as they grow: one file that is appended to, or a file for each thousand.

    for line in stored_lines(storage): ...     # what an earlier run recorded
    log = open_log(storage)
    log.keep(lines, length)                # cut off what follows
    log.append(content, 8)                 # whole lines: all of them or none
    log.close(complete=True)               # metadata.jsonl is whole

Object stores can't append, so that a thousand records become an object there, and `metadata.jsonl` is put together from
them at the end.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Protocol

from contract.dataset import METADATA
from contract.frame_record import PER_FOLDER
from runtime.outputs.claim import RECORDS
from runtime.outputs.storage import LocalStorage, Storage


class RecordLog(Protocol):
    """Lines, in order."""

    def keep(self, count: int, length: int) -> None:
        """Keep the first `count` stored lines, which are `length` bytes, and go on after them."""

    def append(self, content: bytes, count: int) -> None:
        """Add `count` lines: all of them, or none where the disk is full."""

    def close(self, complete: bool) -> None:
        """Write down what was added; `metadata.jsonl` is whole where the dataset is."""


def open_log(storage: Storage) -> RecordLog:
    """The records of the dataset that is kept there."""
    return AppendedLog(storage) if isinstance(storage, LocalStorage) else ChunkedLog(storage)


def stored_lines(storage: Storage) -> Iterator[bytes]:
    """Every line that is stored, the last one perhaps cut short."""
    for name in [METADATA] if METADATA in storage.names() else _chunks(storage):
        with storage.open(name) as file:
            yield from file


class AppendedLog:
    """`metadata.jsonl` of a local folder."""

    def __init__(self, storage: LocalStorage) -> None:
        self._path = storage.folder / METADATA
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        self._length = 0

    def keep(self, count: int, length: int) -> None:
        self._length = length
        os.ftruncate(self._file, length)

    def append(self, content: bytes, count: int) -> None:
        try:
            done = 0
            while done < len(content):
                done += os.pwrite(self._file, content[done:], self._length + done)
            self._length += done
        except OSError as error:
            error.filename = str(self._path)  # a failed write doesn't say of which file
            raise
        finally:
            os.ftruncate(self._file, self._length)

    def close(self, complete: bool) -> None:
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)


class ChunkedLog:
    """`records/NNNNN.jsonl` of an address, and at the end `metadata.jsonl`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._pending: list[bytes] = []
        self._count = 0
        self._whole = METADATA in storage.names()

    def keep(self, count: int, length: int) -> None:
        self._count = count
        if self._whole:
            if self._storage.size(METADATA) != length:
                self._split()
            return
        tail = count % PER_FOLDER
        self._pending = list(itertools.islice(stored_lines(self._storage), count - tail, count))
        for name in _chunks(self._storage)[count // PER_FOLDER :]:
            self._storage.remove(name)

    def append(self, content: bytes, count: int) -> None:
        if self._whole:
            self._split()
        for line in content.splitlines(keepends=True):
            self._add(line)

    def close(self, complete: bool) -> None:
        if self._pending:
            self._write_chunk(self._count // PER_FOLDER)
        if complete and not self._whole:
            with self._storage.create(METADATA) as file:
                for name in _chunks(self._storage):
                    file.write(self._storage.read(name))
        for name in _chunks(self._storage) if complete else ():
            self._storage.remove(name)

    def _split(self) -> None:
        """A finished dataset grows: its records become chunks again, before `metadata.jsonl` goes."""
        for name in _chunks(self._storage):
            self._storage.remove(name)
        kept, self._count = self._count, 0
        for line in itertools.islice(stored_lines(self._storage), kept):
            self._add(line)
        self._write_chunk(self._count // PER_FOLDER)
        self._storage.remove(METADATA)
        self._whole = False

    def _add(self, line: bytes) -> None:
        self._pending.append(line)
        self._count += 1
        if self._count % PER_FOLDER == 0:
            self._write_chunk(self._count // PER_FOLDER - 1)
            self._pending = []

    def _write_chunk(self, number: int) -> None:
        if self._pending:
            self._storage.write(f"{RECORDS}/{number:05d}.jsonl", b"".join(self._pending))


def _chunks(storage: Storage) -> list[str]:
    return [f"{RECORDS}/{name}" for name in storage.names(RECORDS) if name.endswith(".jsonl")]
