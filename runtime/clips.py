"""Clips in place of frames: each condition of a plan becomes a driver who moves, from one noise.

plan = ClipPlan(plan, ClipShape(frames=1800, fps=30))
plan.count                                    # frames: 1800 for each condition of the plan
plan.conditions(seed=7, start=10)             # complete conditions from frame 10 on, a clip in memory at a time
write_clips(open_dataset("frames"), plan)     # clips.jsonl: PERCLOS and blinks of each clip
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from contract.clip import MOVED, TRAJECTORY, Clip, move, moving
from contract.conditions import Schema
from contract.dataset import ClipShape
from contract.errors import Refused, UsageError
from contract.field import Condition
from contract.files import parse_json
from contract.noise import open_fields, stream
from contract.plan import MAX_COUNT, Cell, Plan
from runtime.clip_videos import video_name
from runtime.outputs.reader import StoredDataset

CLIPS = "clips.jsonl"
"""A line of JSON for each clip, beside `dataset.json`."""

MAX_FRAMES = 500_000
"""Of one clip, whose conditions are all in memory."""

ROUNDING = 1e-9
"""Relative error of a product of two decimal numbers, far above float64's."""


@dataclass(frozen=True)
class ClipPlan:
    """A plan whose frames are clips; it counts frames and gives conditions as a plan does."""

    plan: Plan
    shape: ClipShape

    def __post_init__(self) -> None:
        if not moving(self.schema):
            found = f"no number of the schema {self.schema.name!r} has one of the roles {', '.join(MOVED)}"
            raise UsageError(f"--clip: {found}: nothing would move; give its fields their roles, and export it again")
        if self.count > MAX_COUNT:
            raise UsageError(f"{self.count} frames of clips: expected at most {MAX_COUNT} in one dataset")

    @property
    def schema(self) -> Schema:
        return self.plan.schema

    @property
    def count(self) -> int:
        return self.plan.count * self.shape.frames

    @property
    def cells(self) -> Sequence[Cell]:
        return self.plan.cells

    def combinations(self, cell: Cell) -> int:
        return self.plan.combinations(cell)

    def to_dict(self) -> dict[str, Any]:
        """What `dataset.json` says of it; its `each` counts clips."""
        return self.plan.to_dict()

    def conditions(self, seed: int = 0, start: int = 0) -> Iterator[Condition]:
        """Complete conditions from frame `start` on."""
        first, skipped = divmod(start, self.shape.frames)
        for clip in self.clips(seed, first):
            yield from clip.conditions[skipped:]
            skipped = 0

    def clips(self, seed: int = 0, start: int = 0) -> Iterator[Clip]:
        """The clips from number `start` on; all of a clip is drawn for the index of its first frame."""
        schema, frames = self.plan.schema, self.shape.frames
        for number, given in enumerate(self.plan.conditions(seed, start, frames), start):
            index = number * frames
            condition = schema.complete(given, open_fields(seed, index))
            yield move(schema, condition, self.shape, stream(seed, index, TRAJECTORY), given)


def shape_of(seconds: float, fps: float) -> ClipShape:
    """Whole frames that last at least `seconds`, so that a minute at 29.97 frames a second has a PERCLOS."""
    frames = math.ceil(seconds * fps * (1.0 - ROUNDING))
    if frames > MAX_FRAMES:
        raise UsageError(f"--clip {seconds:g} --fps {fps:g}: {frames} frames; expected at most {MAX_FRAMES} in a clip")
    return ClipShape(frames, fps)


FramePlan = Plan | ClipPlan
"""What says which condition each frame of a run is asked for."""


def write_clips(dataset: StoredDataset, plan: ClipPlan) -> None:
    """Write the figures of every clip of a finished dataset, where they aren't there yet."""
    about = {"frames": plan.shape.frames, "fps": plan.shape.fps}
    figures = (clip.figures(plan.schema, plan.shape) for clip in plan.clips(dataset.description.seed))
    _write(dataset, ({"index": number, **about, **found} for number, found in enumerate(figures)))


def read_clips(dataset: StoredDataset) -> list[dict[str, Any]]:
    """The figures of every clip; Refused where they aren't all there."""
    name, expected = f"{dataset.storage.address}/{CLIPS}", dataset.description.clips
    try:
        found = [parse_json(line) for line in dataset.storage.read(CLIPS).splitlines()] if expected else []
        if [clip["index"] for clip in found] != list(range(expected)):
            raise ValueError(f"{len(found)} clips; expected those from 0 to {expected - 1} in order")
    except (FileNotFoundError, ValueError, TypeError, KeyError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise Refused(f"{name}: {reason}; run the command that made the dataset again") from error
    return found


def merge_clips(parts: Sequence[StoredDataset], merged: StoredDataset) -> None:
    """Write the figures of the clips of all parts, numbered anew, and copy their videos, where that isn't done yet."""
    clips = [clip for part in parts for clip in read_clips(part)]
    if clips:
        _write(merged, (clip | {"index": number} for number, clip in enumerate(clips)))
    names = ((part, video_name(number)) for part in parts for number in range(part.description.clips))
    for number, (part, name) in enumerate(names):
        if part.storage.size(name) and not merged.storage.size(video_name(number)):
            with part.storage.open(name) as source, merged.storage.create(video_name(number)) as file:
                shutil.copyfileobj(source, file)


def _write(dataset: StoredDataset, clips: Iterator[dict[str, Any]]) -> None:
    if not dataset.storage.size(CLIPS):
        with dataset.storage.create(CLIPS) as file:
            file.writelines(json.dumps(clip, allow_nan=False).encode() + b"\n" for clip in clips)
