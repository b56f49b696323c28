"""MRL Eye: near-infrared crops of single eyes, everything in the file name.

s0001/s0001_00001_0_0_0_0_0_01.png
      subject, image, gender, glasses, eye state, reflections, lighting, sensor
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from contract.errors import Refused
from contract.field import Condition
from sources.public.mapping import Column, LabelMapping
from sources.public.record import IMAGES, Layout, Sample, files_of, named_like

NAME = re.compile(r"(s\d{4})_(\d+)_([01])_([01])_([01])_([012])_([01])_(0[123])")
PARTS = ("gender", "glasses", "eye_state", "reflections", "lighting", "sensor")


def read(folder: Path) -> Iterator[Sample]:
    """Every eye with its subject."""
    for path in files_of(folder, IMAGES):
        found = NAME.fullmatch(path.stem)
        if not found:
            raise Refused(f"{path}: expected a name like s0001_00001_0_0_1_0_0_01.png")
        if path.parent != folder and re.fullmatch(r"s\d{4}", path.parent.name) and path.parent.name != found[1]:
            raise Refused(f"{path}: an image of {found[1]} in the folder of {path.parent.name}; move it back")
        yield Sample(path, found[1], dict(zip(PARTS, found.groups()[2:], strict=True)))


NIR: Condition = {"sensor": "nir"}
LAYOUT = Layout(
    "mrl-eye",
    "MRL Eye: s0001/s0001_00001_0_0_1_0_0_01.png",
    ("http://mrl.cs.vsb.cz/eyedataset",),
    LabelMapping(
        {
            "gender": Column({"0": {"gender": "male"}, "1": {"gender": "female"}}),
            "glasses": Column({"1": {"accessory": "glasses"}}),  # 0 doesn't rule out a mask below the crop
            "eye_state": Column({"0": {"eye_openness": 0.0}}),  # 1 is open, but not by how much
            "sensor": Column({"01": NIR, "02": NIR, "03": NIR}),
        }
    ),
    named_like(NAME, IMAGES),
    read,
    ("crops of eyes, not of drivers: for an eye classifier, not for a denoiser of whole frames",),
)
