"""Layouts of a thousand frames a file: what they have in common.

A shard appears when it is whole, under its own name. A run that is stopped loses the shard that it was at, and draws
those frames again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, ClassVar, NamedTuple, Protocol

from contract.dataset import Description, Record
from contract.errors import Refused
from contract.files import MAYBE_TEMPORARY, TEMPORARY
from contract.frame_record import FRAMES, PER_FOLDER
from runtime.outputs.dataset_writer import DatasetWriter
from runtime.outputs.progress import Progress
from runtime.outputs.storage import Storage


class Sample(NamedTuple):
    """A record and its image file."""

    record: Record
    content: bytes


class ShardFile(Protocol):
    """One shard being written."""

    def add(self, index: int, sample: Sample) -> None:
        """Add the next sample, which stands at place `index` of the dataset."""

    def close(self) -> None:
        """Write what is pending; doesn't close the file underneath."""


class ShardLayout(Protocol):
    """How samples are kept in a file."""

    suffix: str

    def create(self, file: IO[bytes], description: Description) -> ShardFile:
        """A new shard in an empty file."""

    def read(self, file: IO[bytes], description: Description) -> Iterator[Sample]:
        """The samples of a shard; ValueError where it isn't whole."""

    def records(self, file: IO[bytes], description: Description) -> Iterator[Record]:
        """Their records alone."""


class ShardWriter(DatasetWriter):
    """Writes a dataset of shards, or goes on with its own unfinished one.

    `written` counts the frames of an unfinished shard, too; they are lost on `close`.
    """

    LAYOUT: ClassVar[ShardLayout]

    def __init__(self, address: str | Path, description: Description) -> None:
        self._placed: dict[int, bytes] = {}
        self._stack = contextlib.ExitStack()
        self._shard: ShardFile | None = None
        super().__init__(address, description)
        self._kept = self._progress

    def place(self, index: int, content: bytes) -> None:
        self._placed[index] = content

    def _refuse_foreign(self) -> None:
        shard_names(self._storage, self.LAYOUT)

    def _record(self, records: Sequence[Record]) -> None:
        for entry in records:
            index = self._progress.records
            if self._shard is None:
                file = self._stack.enter_context(self._storage.create(shard_name(index, self.LAYOUT)))
                self._shard = self.LAYOUT.create(file, self.description)
            self._shard.add(index, Sample(entry, self._placed[index]))
            del self._placed[index]
            self._progress = self._progress.plus([entry])
            if self._progress.records in (self.description.count, index - index % PER_FOLDER + PER_FOLDER):
                self._finish_shard()

    def _settle(self) -> Progress:
        self._discard_shard()
        return self._kept

    def _finish_shard(self) -> None:
        if self._shard:
            self._shard.close()
            self._shard = None
        self._stack.close()
        self._kept = self._progress

    def _discard_shard(self) -> None:
        if self._shard is None:
            return
        with contextlib.suppress(OSError, ValueError):  # of a full disk: what it can't take is dropped anyway
            self._shard.close()
        self._shard = None
        with contextlib.suppress(_Discarded), self._stack:
            raise _Discarded

    def _recover(self) -> Progress:
        """Count the records of whole shards, and remove what follows the first that isn't."""
        done = Progress()
        names = shard_names(self._storage, self.LAYOUT)
        for name in names:
            if name.endswith(TEMPORARY) or name != shard_name(done.records, self.LAYOUT):
                self._storage.remove(name)
                continue
            found = self._count(name, done)
            if found is None:
                continue  # written anew when its turn comes
            done = found
        return done

    def _count(self, name: str, before: Progress) -> Progress | None:
        """The progress with this shard, or None where it isn't whole or is to grow."""
        done, end = before, min(before.records + PER_FOLDER, self.description.count)
        try:
            with self._storage.open(name) as file:
                for data in self.LAYOUT.records(file, self.description):
                    done = done.plus([self.description.check(data, done.records)])
        except (ValueError, Refused):
            return None
        return done if done.records == end else None


class _Discarded(Exception):
    """Ends the writing of a shard that isn't whole."""


def shard_name(index: int, layout: ShardLayout) -> str:
    """Name of the shard that frame `index` is in."""
    return f"{FRAMES}/{index // PER_FOLDER:05d}.{layout.suffix}"


def shard_names(storage: Storage, layout: ShardLayout) -> list[str]:
    """The shards that are there, and those that a run was stopped at; Refused for any other file."""
    pattern = re.compile(rf"[0-9]{{5}}\.{layout.suffix}{MAYBE_TEMPORARY}")
    names = storage.names(FRAMES)
    if foreign := [name for name in names if not pattern.fullmatch(name)]:
        message = f"holds '{FRAMES}/{foreign[0]}', which is no shard; name another folder with -o"
        raise Refused(f"{storage.address}: {message}")
    return [f"{FRAMES}/{name}" for name in names]


def whole_shards(storage: Storage, layout: ShardLayout) -> list[str]:
    """The shards that aren't being written."""
    return [name for name in shard_names(storage, layout) if not name.endswith(TEMPORARY)]
