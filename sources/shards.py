"""Labelled frames kept on disk in shards, so that training reads them at memory speed.

    writer = ShardWriter(Path("build/cabin"), description)
    for number in writer.missing(count): writer.write(number, arrays)
    source = read_shards(Path("build/cabin"))

A folder of `shard-NNNNN.npz` (frames, conditions, points, hidden, subjects) and `shards.json`, which says what they
are. Each shard appears whole; a folder goes on where it stopped.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.conditions import Schema
from contract.errors import Refused
from contract.files import TEMPORARY, final_name, read_json, write_whole
from contract.record import convert
from sources.base import LabelledFrames, Landmarks, fingerprint

FORMAT = "dms-edge/shards@1"
DESCRIPTION = "shards.json"
ARRAYS = {
    "frames": (np.uint8, 4),
    "conditions": (np.float32, 2),
    "points": (np.float32, 3),
    "hidden": (np.bool_, 2),
    "subjects": (np.integer, 1),
}
"""Of a shard: its arrays' numbers and axes, the first of which counts frames."""
SHARD_NAME = re.compile(r"(shard|layers)-[0-9]{5,}\.npz")
RENDER = "python -m sources.render"


@dataclass(frozen=True)
class ShardDescription:
    """What a folder of shards holds; two runs of the same command describe the same folder."""

    schema: Schema
    landmarks: Landmarks
    size: int
    """Frames in a whole shard."""

    origin: Mapping[str, Any] = field(default_factory=dict)
    """What made the frames: renderer, domain, seed and settings, as JSON values."""

    drivers: tuple[str, ...] = ()
    """Keys of the drivers that `subjects` counts; empty where the numbers are the keys, as a renderer's are."""

    def to_dict(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "format": FORMAT,
            "schema": self.schema.to_dict(),
            "landmarks": asdict(self.landmarks),
        }
        content |= {"size": self.size, "origin": dict(self.origin)}
        if self.drivers:
            content["drivers"] = self.drivers
        plain: dict[str, Any] = json.loads(json.dumps(content))
        return plain

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> ShardDescription:
        """Read `shards.json`; ValueError on anything unexpected."""
        keys = {"format", "schema", "landmarks", "size", "origin"}
        if data.get("format") != FORMAT or not keys <= set(data) <= {*keys, "drivers"}:
            raise ValueError(f"expected an object of the format {FORMAT}")
        if not isinstance(data["origin"], Mapping):
            raise ValueError("origin: expected an object")
        known = data["landmarks"]
        landmarks = Landmarks(tuple(known["names"]), tuple((a, b) for a, b in known["mirror"]), tuple(known["eyes"]))
        drivers = convert(data.get("drivers", []), tuple[str, ...], "drivers")
        return ShardDescription(Schema.from_dict(data["schema"]), landmarks, int(data["size"]), data["origin"], drivers)


class ShardWriter:
    """Fills a folder with shards, or goes on with its own unfinished one; Refused for a folder of other files."""

    def __init__(self, folder: Path, description: ShardDescription) -> None:
        self.folder, self.description = folder, description
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("*" + TEMPORARY):  # of a run that was killed while it wrote
            if final_name(path.name) == DESCRIPTION or SHARD_NAME.fullmatch(final_name(path.name)):
                path.unlink()
        described, wanted = folder / DESCRIPTION, description.to_dict()
        if described.exists():
            if read_json(described) != wanted:
                raise Refused(f"{described}: describes other frames; choose another folder or remove this one")
        elif any(folder.iterdir()):
            raise Refused(f"{folder}: holds other files; choose an empty folder")
        else:
            write_whole(described, json.dumps(wanted, indent=1).encode() + b"\n")

    def missing(self, count: int) -> Iterator[int]:
        """Numbers of the shards that `count` frames (rounded up to whole shards) still lack."""
        shards = range(-(-count // self.description.size))
        return (number for number in shards if not self._path(number).exists())

    def indices(self, number: int) -> range:
        """Frame indices of a shard."""
        return range(number * self.description.size, (number + 1) * self.description.size)

    def write(self, number: int, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write a shard's ARRAYS, one row a frame, whole or not at all."""
        buffer = io.BytesIO()
        content: dict[str, Any] = {name: arrays[name] for name in ARRAYS}
        np.savez(buffer, **content)
        write_whole(self._path(number), buffer.getvalue())

    def _path(self, number: int) -> Path:
        return self.folder / f"shard-{number:05d}.npz"


def read_description(folder: Path) -> ShardDescription:
    """What a folder of shards holds; Refused where it doesn't say."""
    if not (folder / DESCRIPTION).is_file():
        raise Refused(f"{folder}: no {DESCRIPTION}; render frames with `{RENDER} {folder} -n 256`")
    try:
        return ShardDescription.from_dict(read_json(folder / DESCRIPTION))
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"{folder / DESCRIPTION}: {error}; render the frames again") from error


def domain_of(folder: Path) -> str | None:
    """Whose people a folder's drivers are: a renderer's domain, in which folders number them alike, or None."""
    if not (folder / DESCRIPTION).is_file():
        return None
    domain = read_description(folder).origin.get("domain")
    return None if domain is None else str(domain)


def read_conditions(folder: Path) -> tuple[ShardDescription, npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """What a folder holds, its encoded conditions [N, D] and whose frames they are [N], without the frames."""
    description, joined = _read_columns(folder, ("conditions", "subjects"))
    return description, joined["conditions"], joined["subjects"]


def _read_columns(folder: Path, names: Sequence[str]) -> tuple[ShardDescription, dict[str, Any]]:
    """Some of the ARRAYS of all shards, conditions among them."""
    description = read_description(folder)
    shards = sorted(folder.glob("shard-*.npz"))
    if not shards:
        raise Refused(f"{folder}: no shard; go on with `{RENDER} {folder}`")
    parts = [_read_shard(shard, names) for shard in shards]
    first = parts[0]
    for shard, part in zip(shards, parts, strict=True):
        for name, array in part.items():
            if array.shape[1:] != first[name].shape[1:]:
                raise Refused(f"{shard}: {name} of {array.shape[1:]}, others of {first[name].shape[1:]}; remove it")
    joined: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in names}
    if (found := joined["conditions"].shape[1]) != description.schema.width:
        raise Refused(f"{folder}: conditions of width {found}; its schema's are {description.schema.width} wide")
    return description, joined


def read_shards(folder: Path) -> LabelledFrames:
    """All whole shards of a folder in memory; Refused where there is none, or one is damaged."""
    description, joined = _read_columns(folder, tuple(ARRAYS))
    drivers, subjects = description.drivers, joined["subjects"]
    if drivers and not (subjects.min(initial=0) >= 0 and subjects.max(initial=0) < len(drivers)):
        raise Refused(f"{folder}: subjects beyond the {len(drivers)} drivers of {DESCRIPTION}; make the shards again")
    known = fingerprint(joined["frames"], joined["conditions"])
    return LabelledFrames(
        description.schema, fingerprint=known, landmarks=description.landmarks, driver_names=drivers, **joined
    )


def _read_shard(path: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Some of a shard's ARRAYS; Refused where one is missing, damaged, or of other numbers than it should hold."""
    again = f"remove it, and `{RENDER}` renders it again"
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > path.stat().st_size:  # ShardWriter doesn't compress: whatever did may unpack to anything
            raise ValueError(f"unpacks to {unpacked} bytes")
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in names}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise Refused(f"{path}: damaged; {again}") from error
    rows = len(arrays[names[0]])
    for name, array in arrays.items():
        kind, axes = ARRAYS[name]
        if not np.issubdtype(array.dtype, kind) or array.ndim != axes or len(array) != rows:
            expected = f"{rows} rows of {kind.__name__} in {axes} axes"
            raise Refused(f"{path}: {name} are {array.dtype} {list(array.shape)}; expected {expected}; {again}")
    return arrays
