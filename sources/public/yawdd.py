"""YawDD: videos of parked drivers under the mirror (a behaviour each) and on the dash (all behaviours in one).

Mirror/Female_mirror/1-FemaleNoGlasses-Yawning.avi
Dash/Male/3-MaleSunGlasses.avi
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from contract.errors import Refused
from sources.public.mapping import Column, LabelMapping
from sources.public.record import VIDEOS, Layout, Sample, files_of, named_like

NAME = re.compile(r"\s*(\d+)-(Female|Male)(NoGlasses|SunGlasses|Glasses)(?:-(.+?))?\s*(?:\.avi)?", re.IGNORECASE)
"""Some files are called `11-FemaleGlasses.avi.avi`."""

CAMERAS = ("mirror", "dash")


def read(folder: Path) -> Iterator[Sample]:
    """Every video; number 1 of the women isn't number 1 of the men, and the mirror's numbers aren't the dash's."""
    for path in files_of(folder, VIDEOS):
        found = NAME.fullmatch(path.stem)
        if not found:
            raise Refused(f"{path}: expected a name like 1-FemaleNoGlasses-Yawning.avi")
        above = [part.lower() for part in path.relative_to(folder.parent).parts[-2::-1]]  # the nearest folder first
        camera = next((name for part in above for name in CAMERAS if name in part), "")
        if not camera:
            raise Refused(f"{path}: lies below neither Mirror nor Dash, so that its driver isn't known")
        number, gender, eyewear, behaviour = found.groups()
        raw = {"gender": gender.lower(), "eyewear": eyewear.lower()}
        clip = {"behaviour": behaviour.lower()} if behaviour else {}
        yield Sample(path, f"{camera}-{gender.lower()}-{int(number)}", raw, clip)


LAYOUT = Layout(
    "yawdd",
    "YawDD: Mirror/Female_mirror/1-FemaleNoGlasses-Yawning.avi",
    (
        "S. Abtahi et al., YawDD: a yawning detection dataset, MMSys 2014",
        "https://github.com/QUALINET/databases (YawDD)",
        "unverified: names of folders and files are those that public training code reads",
        "unverified: whether somebody under the mirror is also on the dash",
    ),
    LabelMapping(
        {
            "gender": Column({"female": {"gender": "female"}, "male": {"gender": "male"}}),
            "eyewear": Column(
                {
                    "noglasses": {"accessory": "none"},
                    "glasses": {"accessory": "glasses"},
                    "sunglasses": {"accessory": "sunglasses"},
                }
            ),
        }
    ),
    named_like(NAME, VIDEOS),
    read,
    (
        "a video called Yawning holds yawns between other frames: the behaviour holds for the clip",
        "people can't be matched between mirror and dash: use one of them, or drivers may cross splits",
    ),
)
