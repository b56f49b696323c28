"""Drive&Act: videos of six cameras, and tables of chunks of three seconds, split by participant.

activities_3s/<camera>/midlevel.chunks_90.split_0.train.csv
    participant_id,file_id,annotation_id,frame_start,frame_end,activity,chunk_id
<camera>/vp1/run1b_2018-05-29-14-02-47.ids_1.mp4        the file_id, in the folder of its camera
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from contract.errors import Refused
from contract.record import short
from sources.public.mapping import Column, LabelMapping
from sources.public.record import Layout, Sample
from sources.public.table import table_of

TABLES = "activities_3s/*/midlevel.chunks_90.split_0.*.csv"
"""The first of three splits; the same chunks are dealt out differently in the others."""

COLUMNS = ("participant_id", "file_id", "frame_start", "frame_end", "activity")
FILE_ID = re.compile(r"(vp\d+)/[\w.-]+")
FRAME = re.compile(r"[0-9]{1,9}")

PHONE = ("interacting_with_phone", "talking_on_phone")
FOOD = ("eating", "drinking")
OTHER = (
    "reading_magazine",
    "reading_newspaper",
    "working_on_laptop",
    "writing",
    "opening_laptop",
    "closing_laptop",
    "putting_laptop_into_backpack",
    "taking_laptop_from_backpack",
    "putting_on_jacket",
    "taking_off_jacket",
    "putting_on_sunglasses",
    "taking_off_sunglasses",
)
ACTIVITIES = {
    **dict.fromkeys(PHONE, "phone"),
    **dict.fromkeys(FOOD, "eating"),
    **dict.fromkeys(OTHER, "other"),
    "using_multimedia_display": "adjusting",
    "sitting_still": "none",
}


def read(folder: Path) -> Iterator[Sample]:
    """Every chunk of every camera whose table is there."""
    for table in sorted(folder.glob(TABLES)):
        camera, split = table.parent.name, table.name.removesuffix(".csv").rsplit(".", 1)[1]
        for where, row in table_of(table, COLUMNS):
            found = FILE_ID.fullmatch(row["file_id"])
            if not found or found[1] != f"vp{row['participant_id']}":
                asked = f"vp{row['participant_id'][:60]}"
                raise Refused(f"{where}: file_id {short(row['file_id'])}; expected one of participant {asked}")
            start, end = row["frame_start"], row["frame_end"]
            if not (FRAME.fullmatch(start) and FRAME.fullmatch(end) and int(start) < int(end)):
                raise Refused(f"{where}: frames {short(start)} to {short(end)}; expected two numbers in order")
            yield Sample(
                _video(folder, camera, row["file_id"], where),
                found[1],
                {"activity": row["activity"], "camera": camera},
                {},
                (int(start), int(end)),
                split,
            )


def _video(folder: Path, camera: str, file_id: str, where: str) -> Path:
    """The video of a chunk, which may also lie below `data`."""
    for place in (folder / camera, folder / "data" / camera):
        if (place / f"{file_id}.mp4").is_file():
            return place / f"{file_id}.mp4"
    raise Refused(f"{where}: {folder / camera / file_id}.mp4 is missing; unpack the videos of {camera}")


LAYOUT = Layout(
    "drive-act",
    "Drive&Act: activities_3s/<camera>/midlevel.chunks_90.split_0.train.csv and <camera>/vp1/….mp4",
    (
        "https://driveandact.com/publication/2019_iccv_drive_and_act",
        "unverified: columns and folders are those that public training code reads",
    ),
    LabelMapping({"activity": Column({name: {"distraction_type": value} for name, value in ACTIVITIES.items()})}),
    lambda folder: next(folder.glob(TABLES), None) is not None,
    read,
    ("the car drives itself much of the time: hands off the wheel are no distraction by themselves",),
)
