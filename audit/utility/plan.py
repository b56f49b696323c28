"""The experiment as it is fixed before anything is scored: sizes, tail, splits by driver, seeds, hashes.

plan = make_plan(real, Protocol(), driving)
splits = splits_of(plan, real)                  # Refused where these aren't the planned frames
splits.test                                     # rows of the real frames, which nothing is chosen by
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from audit.utility.driving import Driving
from audit.utility.inputs import LabelledSet
from audit.utility.selection import Rows, in_tail, skewed
from contract.errors import Refused
from contract.files import read_json
from contract.noise import stream
from contract.record import Record

FORMAT = "dms-edge/utility-plan@1"
SPLITS = ("training", "validation", "test")

SPLIT_TOPIC = 40
"""Random stream of the splits: who is tested, and which of the others' frames are trained on."""

Count = Annotated[int, Meta(ge=1, le=10_000_000)]


@dataclass(frozen=True)
class Protocol(Record):
    """How much of what: the document's sizes."""

    WHAT = "protocol"

    training: Count = 1000
    """Real frames to train on."""
    extra: Count = 9000
    """Frames that an arm adds to them, of whatever kind."""
    validation: Count = 600
    """Real frames at least of the drivers by whom the best step is chosen."""
    test: Count = 1500
    """Real frames at least of the drivers that are scored."""
    seeds: Count = 5
    """Runs of each arm: seeds 0, 1, ..."""
    size: Annotated[int, Meta(ge=16, le=512, multiple_of=8)] = 64
    """Pixels of an edge."""
    samples: Count = 80_000
    """Images that each run is trained on, the same for every arm."""
    batch: Count = 64
    split_seed: Annotated[int, Meta(ge=0)] = 0

    @property
    def total(self) -> int:
        """Frames that an arm trains on at the most."""
        return self.training + self.extra


@dataclass(frozen=True)
class Plan(Record):
    """What `plan.json` holds."""

    WHAT = "plan"

    format: str
    domain: str
    """What the real frames are called."""
    tasks: tuple[str, ...]
    protocol: Protocol
    driving: Driving
    drivers: dict[str, tuple[int, ...]]
    """By split: who is in it."""
    hashes: dict[str, str]
    """sha256 of all real frames with labels and drivers (`real`), and of each split's."""

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format}; expected {FORMAT}")
        if set(self.drivers) != set(SPLITS):
            raise ValueError(f"drivers of {', '.join(self.drivers)}; expected those of {', '.join(SPLITS)}")
        seen: dict[int, str] = {}
        for split, drivers in self.drivers.items():
            for driver in drivers:
                if driver in seen:
                    raise ValueError(f"driver {driver} in the splits {seen[driver]} and {split}; expected one split")
                seen[driver] = split

    @property
    def digest(self) -> str:
        """sha256 of the plan."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Splits:
    """Rows of the real frames."""

    training: Rows
    validation: Rows
    test: Rows
    more: Rows
    """Frames of the training drivers that aren't in `training`: what the ceiling adds, as far as they go."""


def make_plan(real: LabelledSet, protocol: Protocol, driving: Driving) -> Plan:
    """Draw the splits; Refused where there are too few drivers or frames."""
    driving.check(real.frames.schema)
    drivers = _draw_drivers(real, protocol)
    rows = _rows(real, protocol, driving, drivers)
    for split in reversed(SPLITS):  # training gets what test and validation leave
        found, wanted = len(getattr(rows, split)), getattr(protocol, split)
        if found < wanted:
            raise Refused(f"{real.name}: {found} frames for {split}; expected {wanted} or a smaller --{split}")
    return Plan(FORMAT, real.name, real.tasks, protocol, driving, drivers, _hashes(real, rows))


def splits_of(plan: Plan, real: LabelledSet) -> Splits:
    """The planned rows; Refused, naming the first difference, where these frames aren't those of the plan."""
    if plan.tasks != real.tasks:
        raise Refused(f"plan: the tasks {', '.join(plan.tasks)}; found {', '.join(real.tasks)}")
    plan.driving.check(real.frames.schema)
    rows = _rows(real, plan.protocol, plan.driving, plan.drivers)
    for name, found in _hashes(real, rows).items():
        if plan.hashes.get(name) != found:
            raise Refused(f"plan: the hash of the {name} frames is another; expected the frames that it was made for")
    return rows


def read_plan(path: Path) -> Plan:
    """A plan from its file; Refused where it isn't one."""
    try:
        return Plan.from_dict(read_json(path))
    except Refused as error:
        raise Refused(f"{path}: {error}") from error


def summary(plan: Plan, real: LabelledSet, rows: Splits) -> dict[str, Any]:
    """How many frames, drivers and tail frames each split holds, and each value of the planned fields."""
    tail, described = in_tail(real, plan.driving.tail), dict[str, Any]()
    for split in SPLITS:
        chosen: Rows = getattr(rows, split)
        values = {name: _counts(real, name, chosen) for name in plan.driving.shares}
        drivers = len(set(real.drivers[chosen].tolist()))
        described[split] = {"frames": len(chosen), "drivers": drivers, "tail": int(tail[chosen].sum())} | values
    return described


def _counts(real: LabelledSet, name: str, rows: Rows) -> dict[str, int]:
    values = real.frames.schema.field(name).values
    classes = real.classes(name)[rows]
    counts = np.bincount(classes[classes >= 0], minlength=len(values))
    return dict(zip(values, counts.tolist(), strict=True))


def _draw_drivers(real: LabelledSet, protocol: Protocol) -> dict[str, tuple[int, ...]]:
    """Test and validation take drivers until they hold their frames; all others are trained on."""
    names, frames = np.unique(real.drivers, return_counts=True)
    order = stream(protocol.split_seed, 0, SPLIT_TOPIC).permutation(len(names))
    held = np.cumsum(frames[order])
    test = int(np.searchsorted(held, protocol.test)) + 1
    validation = int(np.searchsorted(held, held[min(test, len(held)) - 1] + protocol.validation)) + 1
    parts = {"training": order[validation:], "validation": order[test:validation], "test": order[:test]}
    return {split: tuple(sorted(names[parts[split]].tolist())) for split in SPLITS}


def _rows(real: LabelledSet, protocol: Protocol, driving: Driving, drivers: dict[str, tuple[int, ...]]) -> Splits:
    mine = {split: np.flatnonzero(np.isin(real.drivers, drivers[split])) for split in SPLITS}
    random = stream(protocol.split_seed, 1, SPLIT_TOPIC)
    training = skewed(real, driving, mine["training"], protocol.training, random)
    more = np.setdiff1d(mine["training"], training)
    return Splits(training, mine["validation"], mine["test"], more)


def _hashes(real: LabelledSet, rows: Splits) -> dict[str, str]:
    everything = np.arange(len(real.frames.frames))
    parts = {"real": everything} | {split: getattr(rows, split) for split in SPLITS}
    return {name: _hash(real, chosen) for name, chosen in parts.items()}


def _hash(real: LabelledSet, rows: Rows) -> str:
    source = real.frames
    digest = hashlib.sha256()
    for array in (source.frames, source.conditions, source.hidden, real.drivers):
        digest.update(np.ascontiguousarray(array[rows]).tobytes())
    return digest.hexdigest()
