"""DMD (Vicomtech): three cameras a session, and actions over frames in OpenLABEL or VCD 4.3.

    gA/1/s1/gA_1_s1_2019-03-08T09;31;15+01;00_rgb_face.mp4, _rgb_body.mp4, _rgb_hands.mp4, _ir_face.mp4 …
    gA/1/s1/gA_1_s1_2019-03-08T09;31;15+01;00_rgb_ann_distraction.json

Frames of the annotation are those of all cameras side by side. A camera that began later is that many frames behind.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from contract.errors import Refused
from contract.files import parse_json
from sources.public.mapping import Column, LabelMapping
from sources.public.record import Layout, Sample, text_of

CAMERAS = ("face", "body", "hands")
NAME = re.compile(r"(g[A-Z])_(\d+)_(s\d)_(.+)_rgb_ann_(distraction|drowsiness|gaze|hands)")
ANNOTATIONS = "*_ann_*.json"
MAX_FRAMES = 1_000_000
"""Of one session: nine hours at 30 frames a second."""

Interval = tuple[int, int]


def read(folder: Path) -> Iterator[Sample]:
    """Spans of every camera's video, RGB and infrared, in which the actions stay the same."""
    for path in sorted(folder.rglob(ANNOTATIONS)):
        found = NAME.fullmatch(path.stem)
        if not found:
            raise Refused(f"{path}: expected a name like gA_1_s1_2019-03-08T09;31;15+01;00_rgb_ann_distraction.json")
        content = _content(path)
        spans, shifts = list(_spans(_actions(path, content))), _shifts(path, content)
        lengths = {c: _stream_number(path, content, c, ("total_frames",)) or MAX_FRAMES for c in CAMERAS}
        videos = [
            (camera, channel, file)
            for camera in CAMERAS
            for channel in ("rgb", "ir")
            if (file := path.with_name(f"{path.stem.split('_rgb_ann_')[0]}_{channel}_{camera}.mp4")).is_file()
        ]
        if not videos:
            raise Refused(f"{path}: none of its videos (… _rgb_face.mp4) lies beside it; unpack the session again")
        for camera, channel, file in videos:
            for start, end, raw in spans:
                first, last = max(0, start - shifts[camera]), min(end - shifts[camera], lengths[camera])
                if first < last:
                    yield Sample(file, found[2], {"channel": channel, "camera": camera} | raw, {}, (first, last))


def _content(path: Path) -> dict[str, Any]:
    """What stands under `openlabel` or `vcd`."""
    try:
        found = parse_json(text_of(path).encode())
    except ValueError as error:
        raise error if isinstance(error, Refused) else Refused(f"{path}: {error}; expected OpenLABEL or VCD") from error
    roots = [found[name] for name in ("openlabel", "vcd") if isinstance(found, dict) and name in found]
    if len(roots) != 1 or not isinstance(roots[0], dict):
        raise Refused(f"{path}: expected one object under openlabel or vcd")
    root: dict[str, Any] = roots[0]
    return root


def _actions(path: Path, content: dict[str, Any]) -> dict[str, list[Interval]]:
    """The intervals of each action, the end past the last frame."""
    actions = content.get("actions")
    if not isinstance(actions, dict):
        raise Refused(f"{path}: no actions; expected an object of them, by number")
    found: dict[str, list[Interval]] = {}
    for uid, action in actions.items():
        kind = action.get("type") if isinstance(action, dict) else None
        intervals = action.get("frame_intervals") if isinstance(action, dict) else None
        if not isinstance(kind, str) or not isinstance(intervals, list):
            raise Refused(f"{path}: action {uid[:20]!r}; expected a type and frame_intervals")
        found.setdefault(kind, []).extend(_interval(path, kind, interval) for interval in intervals)
    return found


def _interval(path: Path, kind: str, interval: Any) -> Interval:
    ends = interval if isinstance(interval, dict) else {}
    start, end = ends.get("frame_start"), ends.get("frame_end")
    if type(start) is not int or type(end) is not int or not 0 <= start <= end < MAX_FRAMES:
        raise Refused(f"{path}: {kind} from {str(start)[:20]} to {str(end)[:20]}; expected frames in order")
    return start, end + 1


def _spans(actions: dict[str, list[Interval]]) -> Iterator[tuple[int, int, dict[str, str]]]:
    """Start, end and labels of each stretch of frames with any action; an action is a level and a label of it.

    Where two labels of one level overlap, which they shouldn't, the text is both of them and maps onto nothing.
    """
    changes: dict[int, Counter[str]] = {}
    for kind, intervals in actions.items():
        for start, end in intervals:
            changes.setdefault(start, Counter())[kind] += 1
            changes.setdefault(end, Counter())[kind] -= 1
    active: Counter[str] = Counter()
    for start, end in itertools.pairwise(sorted(changes)):
        for kind, change in changes[start].items():
            active[kind] += change
        raw: dict[str, str] = {}
        for kind in sorted(kind for kind, count in active.items() if count):
            level, _, label = kind.partition("/")
            raw[level] = f"{raw[level]} + {label}" if level in raw else label or level
        if raw:
            yield start, end, raw


def _shifts(path: Path, content: dict[str, Any]) -> dict[str, int]:
    """How many frames after the first camera each one began."""
    after = {"face": 0}
    for camera in ("body", "hands"):
        after[camera] = _stream_number(path, content, camera, ("sync", "frame_shift")) or 0
    earliest = min(after.values())
    return {camera: shift - earliest for camera, shift in after.items()}


def _stream_number(path: Path, content: dict[str, Any], camera: str, keys: tuple[str, ...]) -> int | None:
    """A whole number out of a camera's properties, which VCD 4.3 keeps below `metadata`."""
    metadata = content.get("metadata")
    value = content.get("streams") or (metadata.get("streams") if isinstance(metadata, dict) else None)
    for key in (f"{camera}_camera", "stream_properties", *keys):
        value = value.get(key) if isinstance(value, dict) else None
    if value is not None and (type(value) is not int or abs(value) > MAX_FRAMES):
        raise Refused(f"{path}: {keys[-1]} {str(value)[:20]!r} of {camera}_camera; expected a number of frames")
    return value


OTHER = ("reach_side", "reach_backseat", "hair_and_makeup", "talking_to_passenger")
ACTIONS = {
    "safe_drive": "none",
    "texting_right": "phone",
    "texting_left": "phone",
    "phonecall_right": "phone",
    "phonecall_left": "phone",
    "radio": "adjusting",
    "drinking": "eating",
    **dict.fromkeys(OTHER, "other"),
}
LAYOUT = Layout(
    "dmd",
    "DMD: gA/1/s1/gA_1_s1_…_rgb_ann_distraction.json with its videos",
    ("https://github.com/Vicomtech/DMD-Driver-Monitoring-Dataset", "https://arxiv.org/abs/2008.12085"),
    LabelMapping(
        {
            "driver_actions": Column({name: {"distraction_type": value} for name, value in ACTIONS.items()}),
            "eyes_state": Column({"close": {"eye_openness": 0.0}}),  # open, opening, closing: not by how much
            "channel": Column({"rgb": {"sensor": "rgb"}, "ir": {"sensor": "nir"}}),
        }
    ),
    lambda folder: next(folder.rglob(ANNOTATIONS), None) is not None,
    read,
    (
        "signs of fatigue are acted, and no level of fatigue is annotated",
        "change_gear, standstill_or_waiting and unclassified are neither distraction nor its absence",
    ),
)
