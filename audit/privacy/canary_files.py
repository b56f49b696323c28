"""Canaries among training frames, and the file that remembers which of them training was given.

canaries = insert(Path("build/train"), Path("build/train-canaries"), "cabin", count=200)
canaries = read_canaries(canary_path(Path("build/train-canaries")), evidence)
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from audit.privacy.audit import Canaries
from audit.privacy.canaries import draw_canaries
from audit.privacy.evidence import Evidence
from contract.errors import Refused
from contract.files import write_whole
from sources.imagefolder import read_source
from sources.shards import ShardDescription, ShardWriter, domain_of

PROGRAM = "python -m audit.privacy.insert_canaries"


def canary_path(folder: Path) -> Path:
    """Where the canaries of a folder are kept: beside it, since training must not see those that were left out."""
    return folder.with_name(folder.name + ".canaries.npz")


def insert(source: Path, output: Path, schema: str, count: int, seed: int = 0) -> Canaries:
    """Write the source's frames followed by about half of `count` canaries, each a driver of its own.

    Raises Refused where the source doesn't say whose its frames are, as everything that an audit asks is by driver.
    """
    data = read_source(source, schema)
    if data.subjects is None:
        raise Refused(f"{source}: doesn't say whose frames they are; add a column `driver` to its metadata")
    frames, conditions, included = draw_canaries(data.schema, data.image, count, seed)
    first = len(data.driver_names) or data.subjects.max(initial=0) + 1
    own = first + np.arange(included.sum())
    names = data.driver_names and (*data.driver_names, *(f"canary {number}" for number in range(len(own))))
    points = np.zeros((len(data.frames), 0, 2), np.float32) if data.points is None else data.points
    arrays = {
        "frames": np.concatenate([data.frames, frames[included]]),
        "conditions": np.concatenate([data.conditions, conditions[included]]),
        "points": np.concatenate([points, np.zeros((included.sum(), *points.shape[1:]), np.float32)]),
        "hidden": np.concatenate([data.hidden, np.zeros((included.sum(), data.hidden.shape[1]), bool)]),
        "subjects": np.concatenate([data.subjects, own]),
    }
    origin = {"canaries": count, "seed": seed, "source": data.fingerprint, "domain": domain_of(source)}
    description = ShardDescription(data.schema, data.landmarks, len(arrays["frames"]), origin, names)
    ShardWriter(output, description).write(0, arrays)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, frames=frames, conditions=conditions, included=included)
    write_whole(canary_path(output), buffer.getvalue())
    return Canaries(frames, conditions, included)


def read_canaries(path: Path, evidence: Evidence) -> Canaries:
    """The canaries of a folder; Refused where the file is missing, damaged, or of other frames than the evidence."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = Canaries(arrays["frames"], arrays["conditions"], arrays["included"])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise Refused(f"{path}: no canaries ({error}); insert some: {PROGRAM} FOLDER -o OTHER") from error
    kinds = [(each.frames.shape[1:], each.conditions.shape[1:]) for each in (found, evidence)]
    if kinds[0] != kinds[1]:
        raise Refused(f"{path}: canaries of another size or schema than the members; insert some: {PROGRAM}")
    return found
