"""SAM-DD (Singapore AutoMan@NTU Distracted Driving): images by driver, class and camera.

Tester1/5/side_RGB/img_12.jpg            driver, behaviour 0 to 9, view
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from contract.errors import Refused
from sources.public.mapping import Column, LabelMapping
from sources.public.record import IMAGES, Layout, Sample, files_of

DRIVER = re.compile(r"Tester\s*_?(\d+)", re.IGNORECASE)
BEHAVIOURS = {
    "0": "none",  # safe driving
    "1": "eating",  # drinking, which the schema's class covers
    "2": "phone",  # talking, left hand
    "3": "phone",  # talking, right hand
    "4": "phone",  # texting, left hand
    "5": "phone",  # texting, right hand
    "8": "other",  # looking behind
}
"""6 and 7 are not described in public; 9, the head down, may be sleep as well as distraction."""


def read(folder: Path) -> Iterator[Sample]:
    """Every image with its driver; other folders may stand above those of the drivers."""
    for path in files_of(folder, IMAGES):
        parts = path.relative_to(folder).parts
        if len(parts) < 4 or not (driver := DRIVER.fullmatch(parts[-4])):
            raise Refused(f"{path}: expected Tester1/0/side_RGB/img_1.jpg, of driver, behaviour and view")
        if not re.fullmatch(r"\d", parts[-3]):
            raise Refused(f"{path}: behaviour {parts[-3]!r}; expected a folder 0 to 9")
        if not re.fullmatch(r"img_\d+", path.stem):
            raise Refused(f"{path}: expected an image called img_1.jpg, by its number")
        yield Sample(path, driver[1], {"behaviour": parts[-3], "view": parts[-2]})


def recognises(folder: Path) -> bool:
    """Whether the first image below lies in the folders of a driver."""
    first = next(files_of(folder, IMAGES), None)
    return first is not None and len(first.parts) >= 4 and DRIVER.fullmatch(first.parts[-4]) is not None


LAYOUT = Layout(
    "sam-dd",
    "SAM-DD: Tester1/0/side_RGB/img_1.jpg",
    ("unverified: folders and the numbers of behaviours are those that public training code reads",),
    LabelMapping({"behaviour": Column({name: {"distraction_type": value} for name, value in BEHAVIOURS.items()})}),
    recognises,
    read,
    ("front and side views of one moment are two images",),
)
