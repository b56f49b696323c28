"""State Farm Distracted Driver Detection (Kaggle): images by class, and the driver of each in a table.

driver_imgs_list.csv            subject,classname,img
imgs/train/c0 … c9/img_1.jpg
imgs/test/                      without driver or class: left out
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from contract.errors import Refused
from contract.record import short
from sources.public.mapping import Column, LabelMapping
from sources.public.record import IMAGES, Layout, Sample, files_of
from sources.public.table import table_of

TABLE = "driver_imgs_list.csv"
CLASSES = {
    "c0": "none",  # safe driving
    "c1": "phone",  # texting, right hand
    "c2": "phone",  # talking on the phone, right hand
    "c3": "phone",  # texting, left hand
    "c4": "phone",  # talking on the phone, left hand
    "c5": "adjusting",  # operating the radio
    "c6": "eating",  # drinking, which the schema's class covers
    "c7": "other",  # reaching behind
    "c8": "other",  # hair and makeup
    "c9": "other",  # talking to a passenger
}


def read(folder: Path) -> Iterator[Sample]:
    """Every training image with its driver."""
    listed = {}
    for where, row in table_of(folder / TABLE, ("subject", "classname", "img")):
        name = f"{row['classname']}/{row['img']}"
        if row["classname"] not in CLASSES:
            raise Refused(f"{where}: class {short(row['classname'])}; expected c0 to c9")
        if name in listed:
            raise Refused(f"{where}: {name[:60]} stands twice; expected one row an image")
        listed[name] = row["subject"]
    for path in files_of(folder / "imgs" / "train", IMAGES):
        name = path.relative_to(folder / "imgs" / "train").as_posix()
        if name not in listed:
            raise Refused(f"{path}: not in {TABLE}; without its driver an image can't be put into a split")
        yield Sample(path, listed.pop(name), {"classname": path.parent.name})
    for name in listed:
        raise Refused(
            f"{folder / 'imgs' / 'train' / name[:60]}: missing, though {TABLE} lists it; unpack imgs.zip again"
        )


LAYOUT = Layout(
    "state-farm",
    "State Farm Distracted Driver Detection: driver_imgs_list.csv and imgs/train/c0 to c9",
    ("https://www.kaggle.com/c/state-farm-distracted-driver-detection/data",),
    LabelMapping({"classname": Column({name: {"distraction_type": value} for name, value in CLASSES.items()})}),
    lambda folder: (folder / TABLE).is_file(),
    read,
    ("neighbouring images are frames of one video, so that only a split by driver tells anything",),
)
