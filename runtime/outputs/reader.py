"""Any dataset, opened for reading, in whatever layout and wherever it is kept.

dataset = open_dataset("s3://bucket/frames")
for sample in dataset.samples(): ...            # sample.record, sample.content: the image file
for entry in dataset.records(): ...             # without reading images
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO

from contract.dataset import DESCRIPTION, Description, Record, parse_description
from contract.errors import Refused
from contract.files import parse_json
from contract.frame_record import PER_FOLDER
from runtime.outputs.parquet import TableLayout
from runtime.outputs.record_log import stored_lines
from runtime.outputs.shards import Sample, ShardLayout, whole_shards
from runtime.outputs.storage import Storage, open_storage
from runtime.outputs.webdataset import TarLayout

SHARDS: dict[str, ShardLayout] = {"webdataset": TarLayout(), "parquet": TableLayout()}


class StoredDataset:
    """A dataset as it is kept; every record is checked as it is read."""

    def __init__(self, storage: Storage, description: Description) -> None:
        self.storage, self.description = storage, description

    def samples(self, wanted: Collection[int] | None = None) -> Iterator[Sample]:
        """Records with their image files, in order, or those at the wanted places.

        Refused, by the file's name, where one isn't what it should be.
        """
        if self.description.layout in SHARDS:
            yield from self._sharded(SHARDS[self.description.layout].read, wanted)
            return
        for place, entry in enumerate(self.records()):
            if wanted is None or place in wanted:
                yield Sample(entry, self._read(entry["file_name"]))

    def records(self) -> Iterator[Record]:
        """Records alone."""
        if self.description.layout in SHARDS:
            layout = SHARDS[self.description.layout]
            bare = self._sharded(lambda *each: (Sample(entry, b"") for entry in layout.records(*each)))
            yield from (sample.record for sample in bare)
            return
        for place, line in enumerate(stored_lines(self.storage)):
            try:
                yield self.description.check(parse_json(line), place)
            except ValueError as error:
                raise self._refused(f"records: line {place + 1}", error) from error

    def _sharded(
        self, read: Callable[[IO[bytes], Description], Iterator[Sample]], wanted: Collection[int] | None = None
    ) -> Iterator[Sample]:
        for number, name in enumerate(whole_shards(self.storage, SHARDS[self.description.layout])):
            first, end = number * PER_FOLDER, min((number + 1) * PER_FOLDER, self.description.count)
            if wanted is not None and not any(place // PER_FOLDER == number for place in wanted):
                continue
            try:
                with self.storage.open(name) as file:
                    place = first - 1
                    for place, sample in enumerate(read(file, self.description), first):
                        if wanted is None or place in wanted:
                            yield Sample(self.description.check(sample.record, place), sample.content)
                if self.description.complete and place + 1 != end:  # tarfile ends at a broken header without a word
                    raise ValueError(f"{place + 1 - first} frames; expected {end - first}")
            except ValueError as error:
                raise self._refused(name, error) from error

    def _read(self, name: str) -> bytes:
        try:
            return self.storage.read(name)
        except FileNotFoundError as error:
            raise self._refused(name, ValueError("no such file")) from error

    def _refused(self, name: str, error: ValueError) -> Refused:
        return Refused(f"{self.storage.address}/{name}: {error}; run the command that made the dataset again")


def open_dataset(address: str | Path) -> StoredDataset:
    """Open a dataset; Refused where there is none."""
    storage = open_storage(address)
    name = f"{storage.address}/{DESCRIPTION}"
    try:
        return StoredDataset(storage, parse_description(storage.read(DESCRIPTION), name))
    except FileNotFoundError:
        fix = f"generate a dataset: python -m runtime.generate BUNDLE -o {address}"
        raise Refused(f"{name}: no such file; {fix}") from None
