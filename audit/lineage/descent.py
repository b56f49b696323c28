"""Checkpoints, bundles and datasets below a folder, and whether a driver's frames went into them.

    for found in find_artefacts([Path("checkpoints"), Path("build")], "driver-17"): found.path, found.touched

A checkpoint says it by salted hashes in its lineage, a bundle repeats that lineage, and a dataset names its checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from contract.bundle import MANIFEST, read_manifest
from contract.dataset import read_dataset
from contract.driver_hashes import trained_on
from contract.errors import EdgeError, Refused

DESCRIBED = "dataset.json"
TRAINED_ON, NOT_TRAINED_ON, UNKNOWN = "trained on", "not trained on", "unknown"


@dataclass(frozen=True)
class Artefact:
    """One file or folder."""

    kind: str
    """`checkpoint`, `bundle` or `dataset`"""
    path: str
    checkpoint: str | None
    """sha256 of the checkpoint that it is or comes from."""
    touched: str
    """TRAINED_ON, NOT_TRAINED_ON, or UNKNOWN"""
    reason: str = ""
    """Why it is unknown."""


def find_artefacts(paths: Iterable[Path], key: str) -> list[Artefact]:
    """Every artefact below the paths, those that were trained on first; Refused for a path that doesn't exist."""
    found = [artefact for path in paths for artefact in _below(path, key)]
    known: dict[str | None, str] = {
        each.checkpoint: each.touched for each in found if each.kind != "dataset" and each.checkpoint
    }
    resolved = [_by_checkpoint(each, known) if each.kind == "dataset" else each for each in found]
    order = (TRAINED_ON, UNKNOWN, NOT_TRAINED_ON)
    return sorted(resolved, key=lambda each: (order.index(each.touched), each.kind, each.path))


def touched_by(lineage: object, key: str) -> str:
    """TRAINED_ON, NOT_TRAINED_ON, or UNKNOWN where a step of the lineage doesn't say."""
    return {True: TRAINED_ON, False: NOT_TRAINED_ON, None: UNKNOWN}[trained_on(lineage, key)]


def _below(path: Path, key: str) -> Iterator[Artefact]:
    if not path.exists():
        raise Refused(f"{path}: no such file or folder; name those that hold checkpoints, bundles and datasets")
    if path.is_file():
        yield from _checkpoint(path, key)
        return
    for folder, _, names in os.walk(path):
        here = Path(folder)
        if MANIFEST in names:
            yield _bundle(here, key)
        if DESCRIBED in names:
            yield _dataset(here)
        for name in sorted(names):
            if name.endswith(".pt"):
                yield from _checkpoint(here / name, key)


def _checkpoint(path: Path, key: str) -> Iterator[Artefact]:
    from models.checkpoint import read_checkpoint

    try:
        checkpoint = read_checkpoint(path)
    except EdgeError as error:
        yield Artefact("checkpoint", str(path), None, UNKNOWN, str(error))
        return
    touched = touched_by(checkpoint.lineage, key)
    yield _with_reason(Artefact("checkpoint", str(path), checkpoint.sha256, touched))


def _bundle(folder: Path, key: str) -> Artefact:
    try:
        source = read_manifest(folder).source
    except EdgeError as error:
        return Artefact("bundle", str(folder), None, UNKNOWN, str(error))
    touched = touched_by(source.get("lineage"), key)
    return _with_reason(Artefact("bundle", str(folder), source.get("checkpoint"), touched))


def _dataset(folder: Path) -> Artefact:
    try:
        checkpoint = read_dataset(folder).description.checkpoint
    except EdgeError as error:
        return Artefact("dataset", str(folder), None, UNKNOWN, str(error))
    return Artefact("dataset", str(folder), checkpoint, UNKNOWN)


def _by_checkpoint(dataset: Artefact, known: Mapping[str | None, str]) -> Artefact:
    touched = known.get(dataset.checkpoint)
    if touched is not None:
        return _with_reason(replace(dataset, touched=touched))
    missing = f"its checkpoint or bundle isn't here ({(dataset.checkpoint or 'unnamed')[:12]})"
    return replace(dataset, reason=dataset.reason or missing)


def _with_reason(artefact: Artefact) -> Artefact:
    reason = "its lineage doesn't list the drivers of every step" if artefact.touched == UNKNOWN else ""
    return replace(artefact, reason=reason)
