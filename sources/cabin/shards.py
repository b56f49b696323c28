"""Rendered frames on disk: whole shards of 256, and one JSON that says what they are.

folder = Folder.open(Path("build/cabin128"), describe(cabin, seed=0))
folder.write(3, columns)                             # shard-00003.npz
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.errors import Refused
from contract.files import parse_json, write_whole
from sources.cabin.driver import Batch
from sources.cabin.schema import SCHEMA

SHARD = 256
DESCRIPTION = "rendered.json"


@dataclass(frozen=True)
class Folder:
    """A folder of shards of one run."""

    path: Path

    @staticmethod
    def open(path: Path, description: dict[str, Any]) -> Folder:
        """A new folder, or the unfinished one of the very same run; Refused for anything else."""
        file = path / DESCRIPTION
        if file.is_file():
            try:
                found = parse_json(file.read_bytes())
            except ValueError as error:
                raise Refused(f"{file}: {error}; remove the folder and render it again") from error
            if found != json.loads(json.dumps(description)):
                differs = [
                    k
                    for k in description
                    if not isinstance(found, dict) or found.get(k) != json.loads(json.dumps(description[k]))
                ]
                raise Refused(
                    f"{path}: holds another run ({', '.join(differs) or 'format'} differs); name another folder"
                )
            return Folder(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise Refused(f"{path}: holds something else than rendered frames; name a new or empty folder")
        path.mkdir(parents=True, exist_ok=True)
        write_whole(file, (json.dumps(description, indent=1) + "\n").encode())
        return Folder(path)

    def shard(self, number: int) -> Path:
        return self.path / f"shard-{number:05d}.npz"

    def holds(self, number: int, frames: int) -> bool:
        """Whether a shard is there, whole, with that many frames; a shorter one (of a smaller -n) is rendered anew."""
        path = self.shard(number)
        if not path.is_file():
            return False
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return int(arrays["subjects"].shape[0]) >= frames
        except Exception as error:
            raise Refused(
                f"{path}: damaged ({type(error).__name__}); remove it, and the same command renders it again"
            ) from error

    def write(self, number: int, batches: Sequence[Batch]) -> None:
        """One shard from batches in the order of their frames."""
        content = io.BytesIO()
        np.savez_compressed(content, **columns(batches))
        write_whole(self.shard(number), content.getvalue())


def columns(batches: Sequence[Batch]) -> dict[str, npt.NDArray[Any]]:
    """Batches as arrays: frames, encoded conditions, landmarks, hidden fields, subjects, and layers where there are any."""
    conditions = [condition for batch in batches for condition in batch.conditions]
    hidden = [[name in names for name in SCHEMA.names] for batch in batches for names in batch.hidden]
    found: dict[str, npt.NDArray[Any]] = {
        "frames": np.concatenate([batch.frames for batch in batches]),
        "conditions": SCHEMA.encode(conditions),
        "landmarks": np.concatenate([batch.landmarks for batch in batches]),
        "hidden": np.array(hidden, dtype=bool),
        "subjects": np.concatenate([batch.subjects for batch in batches]),
    }
    layers = [layer for batch in batches for layer in batch.layers]
    if layers:
        found["depth"] = np.stack([layer.depth for layer in layers]).astype(np.float16)
        found["classes"] = np.stack([layer.classes for layer in layers])
    return found
