"""What an audit of fidelity found: figures for machines, and a table for people.

result = RunResult(run, frames, annotation, scores)
row(result, reference, held_out)                    # one object of `runs` in fidelity.json
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tabulate import tabulate

from audit.fidelity.distances import RESAMPLES as DISTANCE_RESAMPLES
from audit.fidelity.distances import distances, frechet
from audit.fidelity.held_out import HeldOut
from audit.fidelity.runs import Run, label
from audit.fidelity.scores import Scores, by_person, figures, score
from audit.report.figures import with_interval
from audit.stats.bootstrap import Array, group_resamples, interval, moved_interval
from audit.stats.neighbours import Indices
from contract.annotation import Annotation
from contract.frames import Frames
from sources.base import LabelledFrames
from sources.drivers import drivers_of

DISTANCES = ("FD", "KD", "precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class RunResult:
    """A run with its frames and what the annotator reads from them."""

    run: Run
    frames: Frames
    annotation: Annotation
    scores: Scores


def row(result: RunResult, reference: Annotation, held_out: HeldOut) -> dict[str, Any]:
    """The figures of a run, compared with as many held-out frames of the same conditions."""
    count = len(result.frames)
    conditions, drivers = held_out.conditions[:count], held_out.drivers[:count]
    weights = group_resamples(drivers)
    shown = figures(result.scores, weights) | {
        "persons": by_person(held_out.schema, result.scores, conditions, weights)
    }
    apart = distances(result.annotation.features, reference.features[:count], drivers)
    intervals = shown.pop("intervals") | apart.pop("intervals")
    return result.run.to_dict() | {"frames": count} | shown | apart | {"intervals": intervals}


def dataset_row(
    source: str, data: LabelledFrames, rows: Indices, annotation: Annotation, reference: Annotation
) -> dict[str, Any]:
    """The figures of some rows of a data set, as they were read, beside as many held-out frames."""
    count, drivers = len(rows), drivers_of(data)[rows]
    scores = score(data.schema, annotation, data.schema.decode(data.conditions[rows]))
    shown = figures(scores, group_resamples(drivers))
    apart = distances(annotation.features, reference.features[:count], drivers)
    intervals = shown.pop("intervals") | apart.pop("intervals")
    return {"source": source, "frames": count} | shown | apart | {"intervals": intervals}


def difference(result: RunResult, other: RunResult, reference: Annotation, drivers: Indices) -> dict[str, Any]:
    """How much better or worse a run does than another, over the frames that both drew from the same noise.

    Both are resampled alike, by drivers [N], so that what they share doesn't widen the interval.
    """
    count = min(len(result.frames), len(other.frames))
    weights = group_resamples(drivers[:count])
    here, there = (
        item.scores.first(count).mean_class_accuracy(np.concatenate([np.ones((1, count)), weights]))
        for item in (result, other)
    )
    apart = [_frechet_minus(result, other, reference, row) for row in (None, *weights[:DISTANCE_RESAMPLES])]
    return {
        "to": other.run.label,
        "frames": count,
        "mean_class_accuracy": float(here[0] - there[0]),
        "fd_dms": apart[0],
        "intervals": {
            "mean_class_accuracy": interval((here - there)[1:]),
            "fd_dms": moved_interval(apart[0], np.array(apart[1:])),
        },
    }


def _frechet_minus(result: RunResult, other: RunResult, reference: Annotation, weights: Array | None) -> float:
    count = min(len(result.frames), len(other.frames))
    sets = (item.annotation.features[:count].astype(np.float64) for item in (result, other))
    here, there = (frechet(features, reference.features[:count].astype(np.float64), weights) for features in sets)
    return here - there


def to_text(report: Mapping[str, Any]) -> str:
    """The report as tables: the runs, then every field."""
    names = ["mean_class_accuracy", *(f"{name.lower()}_dms" for name in DISTANCES)]
    rows = [
        ["annotator on held-out frames", *_cells(report["annotator"], names)],
        ["the same, labels shuffled", *_cells(report["shuffled"], names)],
        *(["rendered again", *_cells(floor, names)] for floor in report["floors"]),
        *([label(run), *_cells(run, names)] for run in report["runs"]),
        *([item["source"], *_cells(item, names)] for item in report["datasets"]),
    ]
    heads = ["run", "frames", "class accuracy", *(f"{name}-dms" for name in DISTANCES)]
    columns = [report["annotator"], *report["runs"]]
    fields = [
        [_field_name(name, kind, report["units"]), *(_cell(column, kind, name) for column in columns)]
        for kind in ("class_accuracy", "mae")
        for name in report["annotator"][kind]
    ]
    people = [
        [f"{name} {group}", *(_group(column, name, group) for column in columns)]
        for name, groups in report["annotator"]["persons"].items()
        for group in groups
    ]
    wide = ["field", "held-out", *map(label, report["runs"])]
    if people:
        fields += [[], ["class accuracy by person"], *people]
    return f"{tabulate(rows, heads, 'plain')}\n\n{tabulate(fields, wide, 'plain')}"


def _group(item: Mapping[str, Any], name: str, group: str) -> str:
    found = item["persons"][name].get(group)  # a run of fewer frames may lack one
    return with_interval(found["mean_class_accuracy"], found["interval"]) if found else ""


def _field_name(name: str, kind: str, units: Mapping[str, str]) -> str:
    return f"{name} ({units.get(name) or 'error'})" if kind == "mae" else name


def _cells(item: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    cells = (with_interval(item[name], item["intervals"][name]) if name in item else "" for name in names)
    return [str(item["frames"]), *cells]


def _cell(item: Mapping[str, Any], kind: str, name: str) -> str:
    return with_interval(item[kind][name], item["intervals"][kind][name])
