"""What a checkpoint's lineage says of people: salted hashes of the drivers, and an epsilon only while it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contract.driver_hashes import hash_drivers
from models.annotator import TrainedAnnotator
from sources.base import LabelledFrames
from sources.drivers import driver_keys

NOTHING_PROVEN: Mapping[str, Any] = {"epsilon": None, "delta": None, "unit": None}


def driver_lineage(source: LabelledFrames) -> dict[str, Any] | None:
    """JSON values, None where the source doesn't know whose frames it holds."""
    keys = driver_keys(source)
    return None if keys is None else hash_drivers(keys, source.fingerprint)


def annotator_lineage(annotator: TrainedAnnotator) -> dict[str, Any]:
    """What a lineage says of an annotator that a network carries, or of the critic that it was trained with."""
    return dict(annotator.lineage) or {"data": None, "drivers": None}


def start_lineage(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """What a lineage says of a checkpoint that a run begins with: all but its annotator, which isn't carried on."""
    return {name: said for name, said in lineage.items() if name != "annotator"}


def budget_after(lineage: Mapping[str, Any], *data: str | None) -> dict[str, Any]:
    """Epsilon, delta and unit after more training, without privacy, on frames of these fingerprints.

    They hold on for the public frames that private fine-tuning began with; any other frames may be the private ones.
    """
    public = lineage.get("before")
    kept = isinstance(public, Mapping) and all(each == public.get("data") for each in data)
    return {name: lineage.get(name) if kept else None for name in NOTHING_PROVEN}
