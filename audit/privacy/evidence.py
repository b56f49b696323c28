"""The frames that an audit is given: members and held-out non-members, each with its driver.

    evidence = read_evidence(Path("build/train"), Path("build/held-out"), "cabin", limit=4000)
    evidence.population, evidence.frames, evidence.conditions

Whatever would make figures mean something else is refused: drivers or frames on both sides, unknown drivers, too few.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from audit.privacy.attack import Indices, Population
from audit.stats.roc import Bools
from contract.conditions import Array as Conditions
from contract.conditions import Schema
from contract.errors import Refused
from contract.frames import Frames, ImageShape
from contract.noise import stream
from sources.base import LabelledFrames
from sources.drivers import driver_keys
from sources.imagefolder import read_source
from sources.shards import domain_of

SAME = "a split shares no driver and no frame between members and non-members; prepare the folders again"


@dataclass(frozen=True)
class Evidence:
    """Members first, then non-members."""

    schema: Schema
    frames: Frames
    """[N, H, W, C]"""
    conditions: Conditions
    """[N, D], encoded"""
    members: Bools
    drivers: Indices
    """[N]: numbers that differ between the sides"""
    seed: int = 0
    keys: tuple[str, ...] = ()
    """[N]: of each frame's driver in its folder"""

    @cached_property
    def population(self) -> Population:
        return Population.split(self.members, self.drivers, self.seed)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over frames, conditions and drivers."""
        digest = hashlib.sha256(self.frames.tobytes())
        for array in (self.conditions, self.members, self.drivers):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def sides(self) -> tuple[Bools, Bools]:
        """[N] each: members, and non-members."""
        return self.members, ~self.members

    @property
    def image(self) -> ImageShape:
        _, height, width, channels = self.frames.shape
        return ImageShape(channels, height, width)


def read_evidence(members: Path, non_members: Path, schema: str, limit: int | None = None, seed: int = 0) -> Evidence:
    """Both folders, at most `limit` frames of each (whole drivers, drawn at random).

    `schema` names what their labels mean where they don't say.
    """
    inside, outside = (read_source(folder, schema) for folder in (members, non_members))
    if inside.image != outside.image or not inside.schema.encodes_like(outside.schema):
        raise Refused(f"{non_members}: frames of another size or schema than {members}; expected the same kind of both")
    if domain_of(members) == domain_of(non_members):
        shared = set(driver_keys(inside) or ()) & set(driver_keys(outside) or ())
        if len(shared):
            raise Refused(f"{members} and {non_members}: {len(shared)} drivers in both; {SAME}")
    return gather(inside, outside, limit, seed)


def gather(inside: LabelledFrames, outside: LabelledFrames, limit: int | None = None, seed: int = 0) -> Evidence:
    """Members and non-members as evidence; Refused where a frame is on both sides or a condition isn't finite."""
    known = _drivers("members", inside), _drivers("non-members", outside)
    rows = [_whole_drivers(subjects, limit, seed) for subjects in known]
    frames = np.concatenate([inside.frames[rows[0]], outside.frames[rows[1]]])
    conditions = np.concatenate([inside.conditions[rows[0]], outside.conditions[rows[1]]])
    members = np.repeat([True, False], [len(each) for each in rows])
    if not np.isfinite(conditions).all():
        raise Refused("conditions that aren't finite numbers; prepare the frames again")
    hashes = [{hash(frame.tobytes()) for frame in frames[members == side]} for side in (True, False)]
    if shared := hashes[0] & hashes[1]:
        raise Refused(f"{len(shared)} frames are members and non-members at once; {SAME}")
    drivers = [
        np.unique(subjects[chosen], return_inverse=True)[1] for subjects, chosen in zip(known, rows, strict=True)
    ]
    offset = drivers[0].max(initial=-1) + 1
    numbers = np.concatenate([drivers[0], drivers[1] + offset])
    named = [(driver_keys(side) or [], chosen) for side, chosen in zip((inside, outside), rows, strict=True)]
    keys = tuple(known[row] for known, chosen in named for row in chosen)
    return Evidence(inside.schema, frames, conditions, members, numbers, seed, keys)


def _drivers(name: str, side: LabelledFrames) -> Indices:
    if side.subjects is None:
        raise Refused(f"{name}: the folder doesn't say whose frames they are; expected a driver for every frame")
    return side.subjects


def _whole_drivers(subjects: Indices, limit: int | None, seed: int) -> Indices:
    """Rows of as many whole drivers as `limit` frames hold, or of all."""
    if limit is None or len(subjects) <= limit:
        return np.arange(len(subjects))
    generator = stream(seed, len(subjects), 0)
    known, counts = np.unique(subjects, return_counts=True)
    order = generator.permutation(len(known))
    taken = known[order[counts[order].cumsum() <= limit]]
    return np.flatnonzero(np.isin(subjects, taken))
