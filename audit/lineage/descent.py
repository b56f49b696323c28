"""Checkpoints, bundles and datasets below a folder, and whether a driver's frames went into them.

    for found in find_artefacts([Path("checkpoints"), Path("build")], "driver-17"): found.path, found.touched

A checkpoint says it by salted hashes in its lineage, a bundle repeats that lineage, and a dataset names its checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from audit.lineage.model_lineage import read_model_lineage
from contract.bundle import MANIFEST
from contract.dataset import DESCRIPTION, is_drawn, read_description
from contract.driver_hashes import trained_on
from contract.errors import EdgeError, Refused

UNNAMED = "unnamed"
"""In place of a checkpoint's sha256 where a dataset names none."""

TRAINED_ON, NOT_TRAINED_ON, UNKNOWN = "trained on", "not trained on", "unknown"


@dataclass(frozen=True)
class Artefact:
    """One file or folder."""

    kind: str
    """`checkpoint`, `bundle` or `dataset`"""
    path: str
    checkpoints: tuple[str, ...]
    """sha256 of the checkpoint that it is or comes from; of all of them where a dataset was merged."""
    touched: str
    """TRAINED_ON, NOT_TRAINED_ON, or UNKNOWN"""
    reason: str = ""
    """Why it is unknown."""


def find_artefacts(paths: Iterable[Path], key: str) -> list[Artefact]:
    """Every artefact below the paths, those that were trained on first; Refused for a path that doesn't exist."""
    found = [artefact for path in paths for artefact in _below(path, key)]
    known = {sha256: each.touched for each in found if each.kind != "dataset" for sha256 in each.checkpoints}
    resolved = [_by_checkpoints(each, known) if each.kind == "dataset" else each for each in found]
    order = (TRAINED_ON, UNKNOWN, NOT_TRAINED_ON)
    return sorted(resolved, key=lambda each: (order.index(each.touched), each.kind, each.path))


def touched_by(lineage: object, key: str) -> str:
    """TRAINED_ON, NOT_TRAINED_ON, or UNKNOWN where a step of the lineage doesn't say."""
    return {True: TRAINED_ON, False: NOT_TRAINED_ON, None: UNKNOWN}[trained_on(lineage, key)]


def _below(path: Path, key: str) -> Iterator[Artefact]:
    if not path.exists():
        raise Refused(f"{path}: no such file or folder; name those that hold checkpoints, bundles and datasets")
    if path.is_file():
        yield _model("checkpoint", path, key)
        return
    for folder, _, names in os.walk(path):
        here = Path(folder)
        if MANIFEST in names:
            yield _model("bundle", here, key)
        if DESCRIPTION in names:
            yield from _dataset(here)
        for name in sorted(names):
            if name.endswith(".pt"):
                yield _model("checkpoint", here / name, key)


def _model(kind: str, path: Path, key: str) -> Artefact:
    """A checkpoint or a bundle."""
    try:
        model = read_model_lineage(path)
    except EdgeError as error:
        return Artefact(kind, str(path), (), UNKNOWN, str(error))
    named = (model.checkpoint,) if model.checkpoint else ()
    return _with_reason(Artefact(kind, str(path), named, touched_by(model.complete, key)))


def _dataset(folder: Path) -> Iterator[Artefact]:
    """What a model drew; recorded frames aren't made from anybody's."""
    try:
        if not is_drawn(folder):
            return
        description = read_description(folder)
    except EdgeError as error:
        yield Artefact("dataset", str(folder), (), UNKNOWN, str(error))
        return
    named = {checkpoint or UNNAMED for checkpoint in description.checkpoints}
    yield Artefact("dataset", str(folder), tuple(sorted(named)), UNKNOWN)


def _by_checkpoints(dataset: Artefact, known: Mapping[str, str]) -> Artefact:
    """Touched where any of its checkpoints is, untouched where none is."""
    found = {known.get(sha256) for sha256 in dataset.checkpoints}
    if TRAINED_ON in found or (found and not found & {None, UNKNOWN}):
        return replace(dataset, touched=TRAINED_ON if TRAINED_ON in found else NOT_TRAINED_ON)
    missing = ", ".join(sha256[:12] for sha256 in dataset.checkpoints if sha256 not in known)
    if missing or dataset.reason:
        return replace(dataset, reason=dataset.reason or f"its checkpoint or bundle isn't here ({missing})")
    return _with_reason(dataset)


def _with_reason(artefact: Artefact) -> Artefact:
    reason = "its lineage doesn't list the drivers of every step" if artefact.touched == UNKNOWN else ""
    return replace(artefact, reason=reason)
