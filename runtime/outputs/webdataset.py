"""The WebDataset layout: tar files, in which a frame is two members, `00000000.png` and `00000000.json`.

    with WebDatasetWriter("frames", description) as writer: ...        # frames/00000.tar, frames/00001.tar, ...

It loads with `webdataset`, with `datasets.load_dataset("webdataset", data_files="frames/frames/*.tar")`, and with tar.
Members hold neither time nor owner, so that equal frames give equal bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import IO

from contract.dataset import Description, Record, to_line
from contract.files import parse_json
from contract.frame_record import SUFFIXES
from runtime.outputs.shards import Sample, ShardWriter


class TarShard:
    """One tar file being written."""

    def __init__(self, file: IO[bytes], suffix: str) -> None:
        self._suffix = suffix
        self._tar = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, index: int, sample: Sample) -> None:
        self._member(f"{index:08d}.{self._suffix}", sample.content)
        self._member(f"{index:08d}.json", to_line(sample.record))

    def close(self) -> None:
        self._tar.close()

    def _member(self, name: str, content: bytes) -> None:
        header = tarfile.TarInfo(name)
        header.size, header.mode = len(content), 0o644
        self._tar.addfile(header, io.BytesIO(content))


class TarLayout:
    """Samples in tar files."""

    suffix = "tar"

    def create(self, file: IO[bytes], description: Description) -> TarShard:
        return TarShard(file, SUFFIXES[description.codec])

    def read(self, file: IO[bytes], description: Description) -> Iterator[Sample]:
        image, suffix = None, "." + SUFFIXES[description.codec]
        for name, content in _members(file):
            if name.endswith(suffix):
                image = content
            elif name.endswith(".json") and image is not None:
                yield Sample(parse_json(content), image)
                image = None
            else:
                raise ValueError(f"member {name!r} where a frame or its record was expected")

    def records(self, file: IO[bytes], description: Description) -> Iterator[Record]:
        return (sample.record for sample in self.read(file, description))


class WebDatasetWriter(ShardWriter):
    """Writes a WebDataset."""

    LAYOUT = TarLayout()


def _members(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=file, mode="r|") as tar:
            for header in tar:
                plain = header.isfile() and not header.issparse()  # holes would take memory that no file does
                member = tar.extractfile(header) if plain else None
                if member is None:
                    raise ValueError(f"member {header.name!r} is no file")
                yield header.name, member.read()
    except (tarfile.TarError, EOFError, json.JSONDecodeError) as error:
        raise ValueError(f"not a whole tar file ({error})") from error
