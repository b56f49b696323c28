"""Two charts over the number of steps: how often a frame shows what was asked for, and how far off the frames are.

write_chart(folder / "fidelity.png", report)         # from what `fidelity.json` holds
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from audit.figure import new_figure
from contract.files import write_whole

INCHES, DPI = (11.0, 4.6), 100

ASIDE = 0.02
"""Of the logarithm to base 2, by which series at one number of steps stand apart, so that none hides another."""


class Point(NamedTuple):
    """One run: where it lies, and its interval."""

    steps: int
    value: float
    low: float
    high: float


def write_chart(path: Path, report: Mapping[str, Any]) -> None:
    """Draw both charts; runs that differ in steps alone are joined. Unavailable without matplotlib."""
    figure = new_figure(path.name, INCHES, DPI)
    floor = next((item["fd_dms"] for item in report["floors"] if item["frames"] == report["frames"]), None)
    charts = (
        ("mean class accuracy", "mean_class_accuracy", report["annotator"]["mean_class_accuracy"]),
        ("FD-dms", "fd_dms", floor),
    )
    for place, (title, name, rendered) in enumerate(charts, start=1):
        axes = figure.add_subplot(1, 2, place)
        _draw(axes, series(report["runs"], name), rendered)
        axes.set_title(title, loc="left")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_whole(path, content.getvalue())


def series(runs: Sequence[Mapping[str, Any]], figure: str) -> dict[str, list[Point]]:
    """Points by what they share (model, sampler, precision, guidance, frames), in order of their steps."""
    found: dict[str, list[Point]] = {}
    for run in runs:
        guided = "unguided" if run["guidance"] == 1 else f"guidance {run['guidance']:g}"
        name = f"{run['model']} {run['sampler']} {run['precision']}, {guided}, {run['frames']} frames"
        low, high = run["intervals"][figure]
        found.setdefault(name, []).append(Point(run["steps"], run[figure], low, high))
    return {name: sorted(points) for name, points in found.items()}


def _draw(axes: Any, found: Mapping[str, Sequence[Point]], rendered: float | None) -> None:
    for number, (name, points) in enumerate(found.items()):
        aside = 2.0 ** (ASIDE * (2 * number - len(found) + 1))
        values = [point.value for point in points]
        below, above = zip(*((p.value - p.low, p.high - p.value) for p in points), strict=True)
        spread = [[max(0.0, each) for each in side] for side in (below, above)]
        axes.errorbar([p.steps * aside for p in points], values, spread, fmt="o-", capsize=3, label=name)
    if rendered is not None:
        axes.axhline(rendered, color="grey", linestyle="--", label="rendered frames")
    steps = sorted({point.steps for points in found.values() for point in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(steps, [str(step) for step in steps])
    axes.minorticks_off()
    axes.set_xlim(steps[0] / 1.5, steps[-1] * 1.5)
    axes.set_xlabel("steps")
    axes.grid(axis="y", alpha=0.3)
