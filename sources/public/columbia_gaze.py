"""Columbia Gaze: head pose and gaze in degrees, in the file name.

0001/0001_2m_-15P_-10V_-10H.jpg          subject, distance, head pose, vertical gaze, horizontal gaze
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from contract.errors import Refused
from sources.public.mapping import Column, LabelMapping
from sources.public.record import IMAGES, Layout, Sample, files_of, named_like

NAME = re.compile(r"(\d{4})_(\d+m)_(-?\d+)P_(-?\d+)V_(-?\d+)H")
KNOWN = {
    "head_pose": ("-30", "-15", "0", "15", "30"),
    "gaze_vertical": ("-10", "0", "10"),
    "gaze_horizontal": ("-15", "-10", "-5", "0", "5", "10", "15"),
}
"""The degrees that there are, from the data set's page."""


def read(folder: Path) -> Iterator[Sample]:
    """Every image with its subject."""
    for path in files_of(folder, IMAGES):
        found = NAME.fullmatch(path.stem)
        if not found:
            raise Refused(f"{path}: expected a name like 0001_2m_-15P_-10V_-10H.jpg")
        angles = dict(zip(KNOWN, found.groups()[2:], strict=True))
        for name, value in angles.items():
            if value not in KNOWN[name]:
                raise Refused(f"{path}: {name} {value}; expected one of {', '.join(KNOWN[name])}")
        if re.fullmatch(r"\d{4}", path.parent.name) and path.parent.name != found[1]:
            raise Refused(f"{path}: an image of {found[1]} in the folder of {path.parent.name}; move it back")
        yield Sample(path, found[1], angles | {"distance": found[2]})


LAYOUT = Layout(
    "columbia-gaze",
    "Columbia Gaze: 0001/0001_2m_-15P_-10V_-10H.jpg",
    (
        "http://cs.columbia.edu/CAVE/databases/columbia_gaze",
        "unverified: which side and which direction the signs mean, so only 0 degrees is mapped;"
        " map the columns as numbers with a factor of 1 or -1 once you have looked",
    ),
    LabelMapping(
        {
            "head_pose": Column({"0": {"head_yaw": 0.0}}),
            "gaze_vertical": Column({"0": {"gaze_pitch": 0.0}}),
            "gaze_horizontal": Column({"0": {"gaze_yaw": 0.0}}),
        }
    ),
    named_like(NAME, IMAGES),
    read,
    ("taken in a laboratory at 2 m, not in a car",),
)
