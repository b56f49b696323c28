"""NTHU-DDD: near-infrared videos with one digit a frame in text files, and the copies of its frames.

Training …/001/glasses/sleepyCombination.avi
Training …/001/glasses/001_sleepyCombination_drowsiness.txt, _head.txt, _mouth.txt, _eye.txt
Evaluation …/004/004_glasses_mix.mp4, 004_glasses_mixing_drowsiness.txt
drowsy/001_glasses_sleepyCombination_599_drowsy.jpg          a copy of single frames
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from contract.errors import Refused
from contract.field import Condition
from sources.public.mapping import Column, LabelMapping
from sources.public.record import IMAGES, VIDEOS, Layout, Sample, files_of, text_of

SCENARIOS = {
    "glasses": "glasses",
    "noglasses": "noglasses",
    "sunglasses": "sunglasses",
    "nightglasses": "night_glasses",
    "night_glasses": "night_glasses",
    "nightnoglasses": "night_noglasses",
    "night_noglasses": "night_noglasses",
}
"""Spellings of the five scenarios; night comes with and without an underline."""

KINDS = {"drowsiness": "01", "head": "012", "mouth": "012", "eye": "01"}
"""Annotation files and the digits that each may hold."""

ANY = "|".join(sorted(SCENARIOS, key=len, reverse=True))
EVALUATION = re.compile(rf"(\d{{3}})_({ANY})_mix(?:ing)?", re.IGNORECASE)
FRAME = re.compile(rf"(\d{{3}})_({ANY})_([A-Za-z]+)_(\d+)_(drowsy|notdrowsy)", re.IGNORECASE)
SPLITS = {"train": "training", "evaluation": "evaluation", "test": "testing"}


def read(folder: Path) -> Iterator[Sample]:
    """Spans of videos whose four annotations stay the same, or the copied frames."""
    for path in files_of(folder, VIDEOS | IMAGES):
        yield from _frame(path) if path.suffix.lower() in IMAGES else _video(folder, path)


def _frame(path: Path) -> Iterator[Sample]:
    found = FRAME.fullmatch(path.stem)
    if not found:
        raise Refused(f"{path}: expected a name like 001_glasses_sleepyCombination_599_drowsy.jpg")
    driver, scenario, behaviour, _, state = found.groups()
    raw = {"scenario": SCENARIOS[scenario.lower()], "drowsiness": "1" if state.lower() == "drowsy" else "0"}
    yield Sample(path, driver, raw, {"behaviour": behaviour})


def _video(folder: Path, path: Path) -> Iterator[Sample]:
    whole = EVALUATION.fullmatch(path.stem)
    if whole:
        driver, scenario, behaviour = whole[1], whole[2], "mix"
    else:
        driver, scenario, behaviour = path.parent.parent.name, path.parent.name, path.stem
    if not re.fullmatch(r"\d{3}", driver) or scenario.lower() not in SCENARIOS:
        raise Refused(f"{path}: expected 001/glasses/sleepyCombination.avi or 004/004_glasses_mix.mp4")
    above = [part.lower() for part in path.relative_to(folder.parent).parts[-2::-1]]  # the nearest folder first
    split = next((name for part in above for word, name in SPLITS.items() if word in part), "")
    kinds = _annotations(path, driver, scenario, behaviour)
    base = {"scenario": SCENARIOS[scenario.lower()]}
    if not kinds:
        yield Sample(path, driver, base, {"behaviour": behaviour}, None, split)
        return
    frames = list(zip(*kinds.values(), strict=True))
    start = 0
    for end in range(1, len(frames) + 1):
        if end == len(frames) or frames[end] != frames[start]:
            raw = base | dict(zip(kinds, frames[start], strict=True))
            yield Sample(path, driver, raw, {"behaviour": behaviour}, (start, end), split)
            start = end


def _annotations(path: Path, driver: str, scenario: str, behaviour: str) -> dict[str, str]:
    """The digits of each annotation file that there is, all of one length.

    The annotation of `004_nightnoglasses_mix.mp4` is called `004_night_noglasses_mixing_drowsiness.txt`.
    """
    found: dict[str, str] = {}
    for kind, digits in KINDS.items():
        stems = [f"{driver}_{behaviour}"]
        for spelling in (name for name, meant in SCENARIOS.items() if meant == SCENARIOS[scenario.lower()]):
            stems += [f"{driver}_{spelling}_mixing", f"{driver}_{spelling}_{behaviour}"]
        file = next((p for stem in stems if (p := path.parent / f"{stem}_{kind}.txt").is_file()), None)
        if file is None:
            continue
        text = "".join(text_of(file).split())
        if not text or set(text) - set(digits):
            odd = sorted(set(text) - set(digits))[:3]
            raise Refused(f"{file}: {odd or 'empty'}; expected one digit a frame, of {', '.join(digits)}")
        if found and len(text) != len(next(iter(found.values()))):
            raise Refused(f"{file}: {len(text)} frames; its neighbours have {len(next(iter(found.values())))}")
        found[kind] = text
    return found


def recognises(folder: Path) -> bool:
    """Whether the first file below is one of a scenario."""
    first = next(files_of(folder, VIDEOS | IMAGES), None)
    if first is None:
        return False
    named = EVALUATION.fullmatch(first.stem) or FRAME.fullmatch(first.stem)
    return bool(named) or (first.parent.name.lower() in SCENARIOS and first.suffix.lower() in VIDEOS)


DAY: Condition = {"lighting": "day", "sensor": "nir"}
NIGHT: Condition = {"lighting": "night", "sensor": "nir"}
LAYOUT = Layout(
    "nthu-ddd",
    "NTHU-DDD: 001/glasses/sleepyCombination.avi, or frames like 001_glasses_sleepyCombination_599_drowsy.jpg",
    (
        "http://cv.cs.nthu.edu.tw/php/callforpaper/datasets/DDD/",
        "http://t.zoukankan.com/ocean1100-p-9210272.html (its readme)",
        "unverified: the copies of frames go by file names that public training code reads",
    ),
    LabelMapping(
        {
            "scenario": Column(
                {
                    "noglasses": DAY | {"accessory": "none"},
                    "glasses": DAY | {"accessory": "glasses"},
                    "sunglasses": DAY | {"accessory": "sunglasses"},
                    "night_noglasses": NIGHT | {"accessory": "none"},
                    "night_glasses": NIGHT | {"accessory": "glasses"},
                }
            ),
            "drowsiness": Column({"0": {"fatigue_level": "normal"}}),  # 1 is drowsy, but not how much
        }
    ),
    recognises,
    read,
    (
        "drowsiness is acted, and marked as yes or no: `1` has no level on a schema of four; map it yourself",
        "night videos have 15 frames a second, the others 30; number 005 has none with glasses at night",
        "copies of single frames leave out which frames are neighbours: split by driver",
    ),
)
