"""How frames reach a dataset of any layout: encoded on worker threads, recorded in order.

    with FrameOutput(open_writer("frames", description)) as output:
        output.add(frames, records)               # returns at once; waits only when the disk can't keep up

At most a few batches are in memory at any time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from contract.cores import cores
from contract.dataset import Description, Record
from runtime.outputs.dataset_writer import DatasetWriter
from runtime.outputs.folder import FolderWriter
from runtime.outputs.images import FrameEncoder
from runtime.outputs.parquet import ParquetWriter
from runtime.outputs.signing import FrameSigner
from runtime.outputs.webdataset import WebDatasetWriter

PENDING_BATCHES = 2
"""Batches that may wait for the disk: enough to overlap with the engine, few enough for any memory."""


FORMATS: dict[str, Callable[[str, Description], DatasetWriter]] = {
    "folder": FolderWriter,
    "webdataset": WebDatasetWriter,
    "parquet": ParquetWriter,
}
"""How a dataset can be written: the name of `--format`, and what opens an address for writing."""


def open_writer(address: str, description: Description) -> DatasetWriter:
    """The writer of the described layout; Refused where the address holds anything else."""
    return FORMATS[description.layout](address, description)


class FrameOutput:
    """Frames into a DatasetWriter, which it closes."""

    def __init__(self, writer: DatasetWriter, signer: FrameSigner | None = None) -> None:
        self._writer = writer
        self._encode = FrameEncoder(writer.description.codec, signer)
        self._pool = ThreadPoolExecutor(max_workers=min(8, cores()), thread_name_prefix="encode")
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
        self._writer.place(index, self._encode(frame))
