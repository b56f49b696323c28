"""Whose frames a source holds, by key, and the source without some of them.

    keys = driver_keys(source)                                   # ["17", "17", "23", ...], or None
    source = without_drivers(source, read_keys(Path("withdrawn.txt")))

A key is the driver's name where the source has one (the `driver` column of an imagefolder), else its number as text.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contract.errors import Refused
from sources.base import LabelledFrames, fingerprint


def driver_keys(source: LabelledFrames) -> list[str] | None:
    """The key of each frame's driver, [N]; None where the source doesn't know whose frames they are."""
    if source.subjects is None:
        return None
    if source.driver_names:
        return [source.driver_names[subject] for subject in source.subjects]
    return [str(subject) for subject in source.subjects]


def drivers_of(source: LabelledFrames) -> npt.NDArray[np.int64]:
    """Whose frame each is, int64 [N]: every one by itself where the source doesn't know, or knows one driver alone.

    By this sources are cut in halves and intervals are drawn; of one driver's frames both say what other frames of that
    driver would give, not other drivers.
    """
    known = source.subjects
    return np.arange(len(source.frames)) if known is None or len(np.unique(known)) == 1 else known


def read_keys(path: Path) -> list[str]:
    """The keys of a text file, one a line; blank lines and lines that begin with # are passed over."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: can't be read ({error}); expected a text file with one driver key a line") from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def without_drivers(source: LabelledFrames, keys: Collection[str]) -> LabelledFrames:
    """The source without the frames of these drivers.

    Raises Refused where it doesn't know whose frames they are, where it has no driver of a key (a typing error would
    otherwise keep someone in who asked to be left out), or where nobody is left.
    """
    own = driver_keys(source)
    if own is None:
        raise Refused("--exclude-drivers: the source doesn't say whose frames they are; give one that does")
    if unknown := sorted(set(keys) - set(own)):
        raise Refused(f"--exclude-drivers: no driver {unknown[0]!r} in the source; correct the key or remove its line")
    kept = ~np.isin(own, list(keys))
    if not kept.any():
        raise Refused("--exclude-drivers: no frame is left; expected drivers to train on")
    frames, conditions = source.frames[kept], source.conditions[kept]
    return replace(
        source,
        frames=frames,
        conditions=conditions,
        points=None if source.points is None else source.points[kept],
        hidden=source.hidden[kept],
        subjects=None if source.subjects is None else source.subjects[kept],
        unlabelled=None if source.unlabelled is None else source.unlabelled[kept],
        fingerprint=fingerprint(frames, conditions),
    )
