"""The frames of the experiment, each set with what it is called, checked before anything is trained.

real = read_real(Path("build/pseudoreal128"), tasks=(), size=128)        # drivers known, nothing generated
synthetic = read_synthetic(Path("build/frames"), real, size=128)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from contract.conditions import Schema
from contract.dataset import DESCRIPTION as DATASET
from contract.dataset import is_drawn
from contract.errors import Refused
from contract.field import Field
from contract.files import read_json
from contract.frames import Frames
from sources.base import LabelledFrames, fingerprint
from sources.imagefolder import read_source
from sources.metadata import read_rows
from sources.shards import DESCRIPTION as SHARDS

ROLES = ("fatigue", "distraction")
"""What is classified, where nothing else is asked for: the fields of these roles."""

GENERATED, RENDERED = "generated", "rendered"


@dataclass(frozen=True)
class LabelledSet:
    """Labelled frames of the size that the classifier reads."""

    name: str
    """What tables and plots call it."""

    frames: LabelledFrames
    tasks: tuple[str, ...]
    """Names of the class fields that are learnt."""

    def labels(self, name: str) -> npt.NDArray[np.int64]:
        """The value of a class field in each frame's label, as its index: [N], whether the frame shows it or not.

        A recording's night is known from its clock, though near infrared looks the same by day. -1 where there is no
        label.
        """
        field = self.frames.schema.field(name)
        nearest = field.nearest(self.frames.conditions[:, field.slots])
        if self.frames.unlabelled is None:
            return nearest
        return np.where(self.frames.unlabelled[:, self.frames.schema.names.index(name)], -1, nearest)

    def classes(self, name: str) -> npt.NDArray[np.int64]:
        """The same, but -1 where the frame doesn't show it, too."""
        hidden = self.frames.hidden[:, self.frames.schema.names.index(name)]
        return np.where(hidden, -1, self.labels(name))

    @property
    def drivers(self) -> npt.NDArray[np.int64]:
        """Whose face it is, [N]; Refused where nobody knows."""
        if self.frames.subjects is None:
            raise Refused(f"{self.name}: no drivers, so that splits can't be kept apart; expected a driver a frame")
        return self.frames.subjects


def read_real(folder: Path, tasks: Sequence[str], size: int, schema: str = "cabin") -> LabelledSet:
    """Frames to train on and to test on; Refused where one was generated, or where the drivers aren't known.

    tasks: names of class fields; without them, the fields of ROLES.
    """
    refuse_generated(folder)
    source = resized(read_source(folder, schema, partial=True), size)
    found = LabelledSet(domain_of(folder), source, tuple(dict.fromkeys(tasks)) or _tasks(source.schema, folder))
    for task in found.tasks:
        if not source.schema.field(task).is_class:
            raise Refused(f"{folder}: {task} is a number; expected classes to tell apart")
    found.drivers  # noqa: B018 - raises where there are none
    return found


def read_synthetic(folder: Path, real: LabelledSet, size: int, private: bool = False) -> LabelledSet:
    """Frames to train on, of any origin; Refused where they are labelled otherwise than the real ones, or among them.

    `private` refuses those whose files carry no proven epsilon.
    """
    about = provenance(folder)
    if private and about["epsilon"] is None:
        raise Refused(f"{folder}: no epsilon in its lineage; expected frames of a model trained with privacy")
    source = resized(read_source(folder, real.frames.schema.name, partial=True), size)
    for task in real.tasks:
        mine, theirs = source.schema.field(task), real.frames.schema.field(task)
        if (mine.values, mine.codes) != (theirs.values, theirs.codes):
            raise Refused(f"{folder}: other classes of {task} than {real.name}; expected the same schema")
    if source.image != real.frames.image:
        raise Refused(f"{folder}: images {source.image}; expected {real.frames.image}, as in {real.name}")
    refuse_tested(folder, source, real)
    return LabelledSet(about["name"], source, real.tasks)


def refuse_generated(folder: Path) -> None:
    """Refused, naming the record, where a folder holds frames that a network drew."""
    if (folder / SHARDS).is_file():
        origins = [(str(folder / SHARDS), _shard_origin(folder).get("origin"))]
    else:
        origins = [(row.where, row.values.get("origin")) for row in read_rows(folder)]
    if is_drawn(folder):
        origins.append((str(folder / DATASET), GENERATED))
    for where, origin in origins:
        if origin == GENERATED:
            raise Refused(f"{where}: a generated frame among those to test on; expected rendered or recorded ones")


def refuse_tested(folder: Path, source: LabelledFrames, real: LabelledSet) -> None:
    """Refused where a folder holds a frame of the real ones, or is rendered of the same people."""
    if (folder / SHARDS).is_file() and domain_of(folder) == real.name:
        raise Refused(f"{folder}: of the same people as the real frames, {real.name}; expected another domain")
    known = {hashlib.sha256(frame.tobytes()).digest() for frame in real.frames.frames}
    for row, frame in enumerate(source.frames):
        if hashlib.sha256(frame.tobytes()).digest() in known:
            raise Refused(f"{folder}: frame {row} is one of {real.name} as well; expected frames that nobody tests on")


def domain_of(folder: Path) -> str:
    """What "real" frames are called: the renderer's domain where they are rendered, else the folder's name."""
    domain = _shard_origin(folder).get("domain")
    name = domain.get("name") if isinstance(domain, Mapping) else domain
    if not isinstance(name, str):
        return folder.resolve().name
    return f"{name} (rendered, shifted)" if name.startswith("pseudo") else f"{name} (rendered)"


def provenance(folder: Path) -> dict[str, Any]:
    """A folder's `name`, `origin`, `checkpoint`, `epsilon`, `delta` and `unit`; null for what it doesn't say."""
    origin = _shard_origin(folder)
    if is_drawn(folder):
        origin = {**read_json(folder / DATASET), "origin": GENERATED}
    elif "renderer" in origin:
        origin = {**origin, "origin": RENDERED}
    known = {key: origin.get(key) for key in ("origin", "checkpoint", "epsilon", "delta", "unit")}
    return {"name": f"{folder.resolve().name} ({known['origin'] or 'unknown origin'})", **known}


def task_frames(found: LabelledSet) -> LabelledFrames:
    """The same frames with no label but the tasks', as a classifier learns them."""
    source, fields, columns = found.frames, list[Field](), []
    for task in found.tasks:
        field = source.schema.field(task)
        fields.append(replace(field, offset=sum(f.width for f in fields), hidden=()))
        columns.append(source.conditions[:, field.slots])
    schema = Schema("tasks", sum(f.width for f in fields), tuple(fields))
    hidden = source.hidden[:, [source.schema.names.index(task) for task in found.tasks]]
    return LabelledFrames(schema, source.frames, np.concatenate(columns, axis=1), None, hidden, source.subjects, "")


def resized(source: LabelledFrames, size: int) -> LabelledFrames:
    """The frames at `size` pixels of an edge (averaged over areas), unchanged where they have it.

    Refused where the frames are smaller or not square.
    """
    image = source.image
    if image.height != image.width or image.height < size:
        raise Refused(f"frames of {image.height} x {image.width}; expected squares of {size} pixels or more")
    if image.height == size:
        return source
    frames: Frames = np.stack([_shrunk(frame, size) for frame in source.frames])
    return replace(source, frames=frames, fingerprint=fingerprint(frames, source.conditions))


def _shrunk(frame: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    mode = frame[..., 0] if frame.shape[-1] == 1 else frame
    small = np.asarray(Image.fromarray(mode).resize((size, size), Image.Resampling.BOX))
    return small.reshape(size, size, frame.shape[-1])


def _tasks(schema: Schema, folder: Path) -> tuple[str, ...]:
    found = {role: schema.with_role(role) for role in ROLES}
    if missing := [role for role, field in found.items() if field is None]:
        raise Refused(f"{folder}: no field of its schema has the role {missing[0]}; name the fields with --tasks")
    return tuple(field.name for field in found.values() if field)


def _shard_origin(folder: Path) -> Mapping[str, Any]:
    if not (folder / SHARDS).is_file():
        return {}
    origin = read_json(folder / SHARDS).get("origin")
    return origin if isinstance(origin, Mapping) else {}
