"""UTA-RLDD (Real-Life Drowsiness): three videos for each of 60 participants, one for each state they reported.

Fold1_part1/01/0.mov, 5.mov, 10.MOV      fold, participant, alert, low vigilant, drowsy
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from contract.errors import Refused
from sources.public.mapping import LabelMapping
from sources.public.record import VIDEOS, Layout, Sample, files_of

FOLD = re.compile(r"(Fold[1-5])_part\d+", re.IGNORECASE)
STATES = {"0": "alert", "5": "low vigilant", "10": "drowsy"}
NAME = re.compile(r"(0|5|10)(?:_\d+)?")
"""Some videos are cut into parts: 10_1.mp4, 10_2.mp4."""


def read(folder: Path) -> Iterator[Sample]:
    """Every video with its participant and fold."""
    for path in files_of(folder, VIDEOS):
        state, participant = NAME.fullmatch(path.stem), path.parent.name
        if not state:
            raise Refused(f"{path}: expected a video called 0, 5 or 10, for the state that was reported")
        if not re.fullmatch(r"\d{1,2}", participant):
            raise Refused(f"{path}: lies in {participant!r}; expected the folder of a participant, 01 to 60")
        fold = next((found[1].capitalize() for part in path.parts if (found := FOLD.fullmatch(part))), "")
        yield Sample(path, participant.zfill(2), clip={"state": STATES[state[1]]}, split=fold)


def recognises(folder: Path) -> bool:
    """Whether the first video below lies in the folder of a participant and is called by a state."""
    first = next(files_of(folder, VIDEOS), None)
    return first is not None and bool(NAME.fullmatch(first.stem) and re.fullmatch(r"\d{1,2}", first.parent.name))


LAYOUT = Layout(
    "uta-rldd",
    "UTA-RLDD: Fold1_part1/01/0.mov",
    (
        "https://sites.google.com/view/utarldd/home",
        "https://arxiv.org/abs/1904.07312",
        "unverified: names of folds and files are those that public training code reads",
    ),
    LabelMapping({}),
    recognises,
    read,
    ("the states are reported for ten minutes of video: they hold for the clip and are no label of its frames",),
)
