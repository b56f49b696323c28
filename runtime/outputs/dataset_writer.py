"""What every layout's writer does: take the place, go on where it stopped, record frames whole, mark the end.

A layout says how frames are kept, how much of an earlier run is whole, and what to drop at the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from contract.dataset import DESCRIPTION, Description, Record
from runtime.outputs.claim import claim
from runtime.outputs.progress import Progress
from runtime.outputs.storage import Storage, open_storage
from runtime.outputs.uninterrupted import uninterrupted


class DatasetWriter(ABC):
    """One dataset being written, in whatever format; opened again, it goes on where it stopped. A context manager.

    A place that holds anything but this very dataset raises Refused.
    """

    description: Description
    """Marked complete once a finished dataset is closed."""

    def __init__(self, address: str | Path, description: Description) -> None:
        self._storage: Storage = open_storage(address)
        self._refuse_foreign()
        self.description = claim(self._storage, description)
        try:
            self._progress = self._recover()
        except BaseException:
            self._storage.close()
            raise

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def written(self) -> int:
        """How many frames are recorded, from index 0 on."""
        return self._progress.records

    @abstractmethod
    def place(self, index: int, content: bytes) -> None:
        """Take the encoded frame `index`; may be called from several threads."""

    def append(self, records: Sequence[Record]) -> None:
        """Record the next frames, all of which have been placed; Ctrl-C comes before or after, never between."""
        with uninterrupted():
            self._record(records)

    def close(self) -> None:
        """Drop what isn't whole, and mark the dataset complete where it is."""
        try:
            whole = self._settle()
            if whole.records >= self.description.count:
                self.description = whole.completed(self.description)
                self._storage.write(DESCRIPTION, self.description.to_bytes())
        finally:
            self._storage.close()

    @abstractmethod
    def _refuse_foreign(self) -> None:
        """Refused where the place holds files that this layout never writes; nothing was written there yet."""

    @abstractmethod
    def _recover(self) -> Progress:
        """What an earlier run left whole; the rest is removed."""

    @abstractmethod
    def _record(self, records: Sequence[Record]) -> None:
        """Record these frames and count them in `_progress`."""

    @abstractmethod
    def _settle(self) -> Progress:
        """Drop what isn't whole; what is."""
