"""Whose dataset is it? A place is empty, holds this very dataset or its beginning, or is refused and left alone.

description = claim(storage, description)            # locks the place; what is there goes on as it was described
"""

from __future__ import annotations

from contract.dataset import DESCRIPTION, METADATA, Description, parse_description
from contract.errors import Refused
from contract.files import final_name
from contract.frame_record import FRAMES
from runtime.outputs.storage import Storage

RECORDS = "records"
"""Folder of the records, a file for each thousand, while files can't be appended to."""

CARDS = ("README.md", "croissant.json")
"""What describes a dataset to people and to other tools."""

DERIVED = ("coco.json", "openlabel.json", "clips.jsonl", "videos")
"""What is made from a finished dataset, and made again where it grows; so are CARDS, by `audit.data_card`."""

OF_THE_DISK = "lost+found"
"""What a mounted volume holds by itself."""

OWN = frozenset({OF_THE_DISK, DESCRIPTION, METADATA, FRAMES, RECORDS, *CARDS, *DERIVED})


def claim(storage: Storage, description: Description) -> Description:
    """Take the place for this dataset; Refused where it holds anything else, or another run is writing it.

    Returns the description that holds: of a finished dataset its own, else the new one, which is written.
    """
    names = storage.names()
    _refuse_foreign(storage, names)
    if DESCRIPTION not in names:
        if any(_is_kept(storage, name) for name in names):
            raise Refused(f"{storage.address}: holds files but no {DESCRIPTION}; name another folder with -o")
        storage.lock()
        storage.write(DESCRIPTION, description.to_bytes())
        return description
    found = parse_description(storage.read(DESCRIPTION), f"{storage.address}/{DESCRIPTION}")
    difference = found.differences(description)
    if difference and not description.extends(found):
        others = ", ".join(difference)
        raise Refused(f"{storage.address}: holds another dataset (other {others}); name another with -o")
    storage.lock()
    if not difference:
        return found
    for name in (*DERIVED, *CARDS):
        for inside in storage.names(name):
            storage.remove(f"{name}/{inside}")
        if name in names and not storage.names(name) and "." in name:
            storage.remove(name)
    storage.write(DESCRIPTION, description.to_bytes())
    return description


def _refuse_foreign(storage: Storage, names: list[str]) -> None:
    for name in names:
        if final_name(name) not in OWN:
            raise Refused(f"{storage.address}: holds {name!r}, which is no part of a dataset; name another with -o")


def _is_kept(storage: Storage, name: str) -> bool:
    """Whether there is anything but what a run leaves that was stopped before its first file."""
    begun = name != DESCRIPTION and final_name(name) == DESCRIPTION
    return not begun and name != OF_THE_DISK and not (name == FRAMES and not storage.names(FRAMES))
