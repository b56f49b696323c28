"""What an audit of fidelity found: figures for machines, and a table for people.

measured = RunResult(run, frames, annotation, scores)
row(measured, held_out)                             # one object of `runs` in fidelity.json
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from audit.fidelity.distances import RESAMPLES as DISTANCE_RESAMPLES
from audit.fidelity.distances import distances, frechet
from audit.fidelity.sample_cache import Frames, Run, label
from audit.fidelity.scores import Scores, figures
from audit.stats.bootstrap import Array, interval, moved_interval, resamples
from contract.annotation import Annotation

DIGITS = 6
"""Significant ones, of every figure in the report."""


@dataclass(frozen=True)
class RunResult:
    """A run with its frames and what the annotator reads from them."""

    run: Run
    frames: Frames
    annotation: Annotation
    scores: Scores


def row(measured: RunResult, reference: Annotation) -> dict[str, Any]:
    """The figures of a run, held against as many held-out frames of the same conditions."""
    count = len(measured.frames)
    shown = figures(measured.scores, resamples(count))
    apart = distances(measured.annotation.features, reference.features[:count])
    intervals = shown.pop("intervals") | apart.pop("intervals")
    return measured.run.to_dict() | {"frames": count} | shown | apart | {"intervals": intervals}


def difference(measured: RunResult, other: RunResult, reference: Annotation) -> dict[str, Any]:
    """How much a run does better or worse than another, over the frames that both drew from the same noise.

    The same frames are resampled of both, so that what they share doesn't widen the interval.
    """
    count = min(len(measured.frames), len(other.frames))
    weights = resamples(count)
    here, there = (
        item.scores.first(count).mean_class_accuracy(np.concatenate([np.ones((1, count)), weights]))
        for item in (measured, other)
    )
    apart = [_frechet_minus(measured, other, reference, row) for row in (None, *weights[:DISTANCE_RESAMPLES])]
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


def _frechet_minus(measured: RunResult, other: RunResult, reference: Annotation, weights: Array | None) -> float:
    count = min(len(measured.frames), len(other.frames))
    sets = (item.annotation.features[:count].astype(np.float64) for item in (measured, other))
    here, there = (frechet(features, reference.features[:count].astype(np.float64), weights) for features in sets)
    return here - there


def plain(value: Any) -> Any:
    """JSON values: rounded numbers, null where a figure has no frame to stand on, lists for intervals."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def text(report: Mapping[str, Any]) -> str:
    """The report as tables: the runs, then every field."""
    kinds = ("FD", "KD", "precision", "recall", "density", "coverage")
    lines = [["run", "frames", "class accuracy", *(f"{kind}-dms" for kind in kinds)]]
    lines.append(["annotator on rendered frames", *_cells(report["annotator"], ["mean_class_accuracy"])])
    lines.append(["the same, labels shuffled", *_cells(report["shuffled"], ["mean_class_accuracy"])])
    names = ["mean_class_accuracy", *(f"{kind.lower()}_dms" for kind in kinds)]
    for floor in report["floors"]:
        lines.append(["rendered against rendered", *_cells(floor, names)])
    lines += [[label(run), *_cells(run, names)] for run in report["runs"]]
    wide = [["field", "rendered", *map(label, report["runs"])]]
    found = [report["annotator"], *report["runs"]]
    for kind in ("class_accuracy", "mae"):
        for name in report["annotator"][kind]:
            unit = report["units"].get(name, "")
            cells = [_with_interval(item[kind][name], item["intervals"][kind][name]) for item in found]
            wide.append([f"{name} ({unit or 'error'})" if kind == "mae" else name, *cells])
    return f"{_table(lines)}\n\n{_table(wide)}"


def _cells(item: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    known = [(item[name], item["intervals"][name]) if name in item else (None, None) for name in names]
    return [str(item["frames"]), *(_with_interval(value, bounds) for value, bounds in known)]


def _with_interval(value: float | None, bounds: Sequence[float] | None) -> str:
    if value is None or bounds is None or None in bounds:
        return "-"
    return f"{value:.3g} [{bounds[0]:.3g}, {bounds[1]:.3g}]"


def _table(lines: Sequence[Sequence[str]]) -> str:
    columns = max(map(len, lines))
    padded = [[*line, *[""] * (columns - len(line))] for line in lines]
    widths = [max(len(line[column]) for line in padded) for column in range(columns)]
    joined = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in padded)
    return "\n".join(line.rstrip() for line in joined)
