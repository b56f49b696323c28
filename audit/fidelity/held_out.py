"""Frames of people that no network was trained on: what generated frames are compared with.

    held_out = read_held_out(Path("build/held-out"), schema, image, count=2000, rerendered=[Path("build/rerendered")])
    held_out.frames, held_out.vectors                  # generated frames are asked for the same conditions

Other folders may hold other frames of the same conditions, found by their encoded conditions, whatever their order:
what a perfect model would draw.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from audit.fidelity.diversity import CONDITIONS, GROUP
from audit.fidelity.runs import Source
from audit.stats.neighbours import Indices
from contract.conditions import Array, Schema
from contract.driver_hashes import seen_drivers
from contract.errors import Refused
from contract.field import Condition
from contract.frames import Frames, ImageShape
from sources.base import LabelledFrames
from sources.drivers import driver_keys, drivers_of
from sources.imagefolder import read_source

SAME_CONDITION_START = 1 << 32
"""First index of the generated frames that share a condition, beyond every other index."""


@dataclass(frozen=True)
class HeldOut:
    """Frames with exact labels."""

    schema: Schema
    frames: Frames
    """[N, H, W, C]"""
    vectors: Array
    """[N, D]: their conditions, encoded"""
    drivers: Indices
    """[N]: whose face it is, by which intervals are resampled (`drivers_of`)"""
    rerendered: Frames | None = None
    """[N, H, W, C]: other frames of the same conditions; None where not every condition has one"""
    repeated: Array | None = None
    """[CONDITIONS, D]: conditions that are asked for several times each; by default evenly apart among all"""
    same_condition: Frames | None = None
    """[CONDITIONS * GROUP, H, W, C]: several frames of each of them; None likewise"""

    @cached_property
    def conditions(self) -> list[Condition]:
        return self.schema.decode(self.vectors)

    @property
    def same_condition_vectors(self) -> Array:
        """CONDITIONS conditions, each of them GROUP times: [CONDITIONS * GROUP, D]."""
        chosen = self.vectors[evenly(len(self.vectors), CONDITIONS)] if self.repeated is None else self.repeated
        return np.repeat(chosen, GROUP, axis=0)

    @property
    def fingerprint(self) -> str:
        """sha256 over frames and conditions."""
        digest = hashlib.sha256(np.ascontiguousarray(self.frames).tobytes())
        digest.update(np.ascontiguousarray(self.vectors).tobytes())
        return digest.hexdigest()


def read_frames(folder: Path, schema: Schema, image: ImageShape) -> LabelledFrames:
    """The frames of a folder of shards or an imagefolder; Refused where the model draws others than these."""
    source = read_source(folder, schema.name)
    if source.image != image or not source.schema.encodes_like(schema):
        raise Refused(
            f"{folder}: {_shape(source.image)} frames of the schema {source.schema.name!r}; the model draws"
            f" {_shape(image)} frames of {schema.name!r}: prepare frames of that size and schema"
        )
    return source


def read_held_out(
    folder: Path,
    schema: Schema,
    image: ImageShape,
    count: int,
    rerendered: Sequence[Path] = (),
    models: Sequence[Source] = (),
) -> HeldOut:
    """The first `count` frames of a folder, with other frames of their conditions where `rerendered` holds them.

    Raises Refused where there are too few frames, or others than the model draws, or where the lineage of
    one of the models lists one of their drivers.
    """
    source = read_frames(folder, schema, image)
    if len(source.frames) < count:
        raise Refused(
            f"{folder}: {len(source.frames)} frames, --frames asks for {count}; add frames, or pass --frames"
            f" {len(source.frames)}"
        )
    refuse_seen(folder, (driver_keys(source) or [])[:count], models)
    frames, vectors, drivers = source.frames[:count], source.conditions[:count], drivers_of(source)[:count]
    if not rerendered:
        return HeldOut(source.schema, frames, vectors, drivers)
    others = [read_frames(path, schema, image) for path in rerendered]
    drawn = np.concatenate([other.frames for other in others])
    rows = _rows_by_condition(np.concatenate([other.conditions for other in others]))
    once = _choose(rows, vectors, 1)
    often = np.flatnonzero([len(rows.get(vector.tobytes(), ())) >= GROUP for vector in vectors])
    repeated = vectors[often[evenly(len(often), CONDITIONS)]] if len(often) >= CONDITIONS else None
    several = None if repeated is None else _choose(rows, repeated, GROUP)
    if once is None and several is None:
        names = " ".join(map(str, rerendered))
        raise Refused(f"{names}: lacks conditions of {folder}; expected frames of the very same conditions")
    rerendered_frames, same_condition = (None if chosen is None else drawn[chosen] for chosen in (once, several))
    return HeldOut(source.schema, frames, vectors, drivers, rerendered_frames, repeated, same_condition)


def refuse_seen(folder: Path, keys: Collection[str], models: Sequence[Source]) -> None:
    """Refused where a model's lineage lists one of these drivers; one that lists nobody says nothing."""
    for model in models:
        if seen := seen_drivers(model.lineage, keys):
            raise Refused(
                f"{folder}: {model.name} was trained on {len(seen)} of its drivers, such as {seen[0]}; expected"
                " frames of other people"
            )


def evenly(length: int, count: int) -> Indices:
    """At most `count` rows, evenly apart: frames beside each other are often of one driver or of one condition."""
    rows: Indices = np.linspace(0, length - 1, min(length, count)).round().astype(np.int64)
    return rows


def _rows_by_condition(vectors: Array) -> dict[bytes, list[int]]:
    rows: dict[bytes, list[int]] = defaultdict(list)
    for row, vector in enumerate(vectors):
        rows[vector.tobytes()].append(row)
    return rows


def _choose(rows: dict[bytes, list[int]], vectors: Array, each: int) -> list[int] | None:
    """`each` rows of every condition, one condition after another; None where one has fewer."""
    found = [rows.get(vector.tobytes(), [])[:each] for vector in vectors]
    return [row for few in found for row in few] if all(len(few) == each for few in found) else None


def _shape(image: ImageShape) -> str:
    return f"{image.width} x {image.height} x {image.channels}"
