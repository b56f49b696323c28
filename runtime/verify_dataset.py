"""Is every file of a dataset what its record says?

    report = verify_dataset("frames")           # Refused names the first file that isn't

Every record is checked against the schema, every image is decoded and has to be of the described size and marked as
synthetic, every clip has to have its figures. A folder dataset's frames that no record names are reported by the writer
when it is opened again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contract.dataset import DESCRIPTION
from contract.errors import EdgeError, Refused
from contract.progress import progress_bar
from contract.provenance import digital_source
from runtime.clips import read_clips
from runtime.outputs.images import decode_image
from runtime.outputs.reader import open_dataset


def is_dataset(path: str) -> bool:
    """Whether this is a dataset, and no bundle."""
    return "://" in path or (Path(path) / DESCRIPTION).is_file()


def verify_dataset(address: str) -> dict[str, Any]:
    """Read everything; what was found. EdgeError where the dataset isn't finished."""
    dataset = open_dataset(address)
    description, frames, size = dataset.description, 0, 0
    height, width, channels = description.image.height, description.image.width, description.image.channels
    for sample in progress_bar(dataset.samples(), desc="verify", total=description.count, unit="frame"):
        name = f"{address}: {sample.record['file_name']}"
        try:
            shape = decode_image(sample.content, channels).shape
        except ValueError as error:
            raise Refused(f"{name}: {error}; run the command that made the dataset again") from error
        if shape != (height, width, channels):
            raise Refused(f"{name}: {list(shape)} pixels; expected {[height, width, channels]}, as {DESCRIPTION} says")
        if digital_source(sample.record["origin"]).encode() not in sample.content:
            raise Refused(f"{name}: not marked as {sample.record['origin']}; another program has rewritten it")
        frames, size = frames + 1, size + len(sample.content)
    if not description.complete or frames != description.count:
        found = f"{frames} of {description.count} frames"
        raise EdgeError(f"{address}: unfinished, {found}; run the command that began it again")
    read_clips(dataset)
    about = {"layout": description.layout, "codec": description.codec, "parts": max(1, len(description.parts))}
    return {"dataset": address, "frames": frames, "image_bytes": size, "marked": frames, **about}
