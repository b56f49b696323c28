"""What every dataset format offers, and how frames reach it: encoded on worker threads, recorded in order.

    with FrameOutput(FolderWriter("frames", description)) as output:
        output.add(frames, records)               # returns at once; waits only when the disk can't keep up

At most a few batches are in memory at any time.
"""

from __future__ import annotations

import io
import os
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from contract.dataset import Description, Record
from contract.errors import Refused
from runtime.outputs.folder import FolderWriter

PENDING_BATCHES = 2
"""Batches that may wait for the disk: enough to overlap with the engine, few enough for any memory."""

COMPRESSION = {"compress_level": 1, "compress_type": zlib.Z_RLE}
"""How zlib packs the PNGs: runs alone. Sensor noise hardly repeats itself, and what zlib's own search for repetitions
saves at level 4, 4 % of a file, takes it twice as long."""

CHANNELS = (1, 2, 3, 4)
"""What a PNG holds: grey or colour, each with or without alpha."""


class DatasetWriter(Protocol):
    """One dataset being written, in whatever format; opened again, it goes on where it stopped."""

    description: Description
    """Marked complete once a finished dataset is closed."""

    @property
    def written(self) -> int:
        """How many frames are recorded, from index 0 on."""

    def place(self, index: int, content: bytes) -> None:
        """Take the encoded frame `index`; may be called from several threads."""

    def append(self, records: Sequence[Record]) -> None:
        """Record the next frames, all of which have been placed."""

    def close(self) -> None:
        """Drop what isn't recorded, and mark the dataset complete where it is."""


FORMATS: dict[str, Callable[[str, Description], DatasetWriter]] = {"folder": FolderWriter}
"""How a dataset can be written: the name of `--format`, and what opens a path for writing."""


class FrameOutput:
    """Frames into a DatasetWriter, which it closes."""

    def __init__(self, writer: DatasetWriter) -> None:
        self._writer = writer
        self._pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1), thread_name_prefix="png")
        self._pending: deque[tuple[list[Future[None]], Sequence[Record]]] = deque()

    def __enter__(self) -> FrameOutput:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            # After Ctrl-C what is under way is still kept; after a full disk it can't be.
            if kind is None or kind is KeyboardInterrupt:
                self._settle(0)
        finally:
            self._pool.shutdown(cancel_futures=True)
            self._writer.close()

    def add(self, frames: npt.NDArray[np.uint8], records: Sequence[Record]) -> None:
        """Take the next frames uint8 [B, H, W, C] with their records; OSError on a full disk."""
        pairs = zip(frames, records, strict=True)
        self._pending.append(([self._pool.submit(self._place, r["index"], frame) for frame, r in pairs], records))
        self._settle(PENDING_BATCHES)

    def _settle(self, pending: int) -> None:
        """Record finished batches, oldest first, until at most `pending` are left."""
        while len(self._pending) > pending:
            futures, records = self._pending[0]
            for future in futures:
                future.result()
            if records[0]["index"] == self._writer.written:  # Ctrl-C may have come between the next two lines
                self._writer.append(records)
            self._pending.popleft()

    def _place(self, index: int, frame: npt.NDArray[np.uint8]) -> None:
        self._writer.place(index, encode_png(frame))


def check_channels(channels: int) -> None:
    """Refused where a PNG can't hold that many channels."""
    if channels not in CHANNELS:
        raise Refused(f"frames of {channels} channels: a PNG holds 1 to {max(CHANNELS)}")


def encode_png(frame: npt.NDArray[np.uint8]) -> bytes:
    """A frame uint8 [H, W, C] as the content of a PNG file, grey where it has one channel."""
    content = io.BytesIO()
    Image.fromarray(frame.squeeze(2) if frame.shape[2] == 1 else frame).save(content, "png", **COMPRESSION)
    return content.getvalue()
