"""Every arm with its interval: macro-F1 and the recall of the worst class, on all test frames and on the tail.

write_chart(folder / "utility.png", report)          # from what `utility.json` holds
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from audit.figure import new_figure
from contract.files import write_whole

DPI = 100
WIDE, ROW = 10.0, 0.42
"""Inches: width, and height of an arm."""

PANELS = (("macro_f1", "Macro-F1"), ("worst_class_recall", "Worst-class recall"))
ASIDE = 0.13
"""By how much all frames and tail stand apart, in rows."""


def write_chart(path: Path, report: Mapping[str, Any]) -> None:
    """Draw the chart as PNG. Raises Unavailable without matplotlib."""
    arms = report["arms"]
    figure = new_figure(path.name, (WIDE, 1.6 + ROW * len(arms)), DPI)
    first: Any = None
    for place, (measure, title) in enumerate(PANELS, start=1):
        axes = figure.add_subplot(1, len(PANELS), place, sharey=first)
        first = first or axes
        _draw(axes, arms, measure)
        axes.set_title(title, loc="left")
        axes.tick_params(labelleft=place == 1)
    first.set_yticks(range(len(arms)), [arm["title"] for arm in arms.values()])
    first.invert_yaxis()
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    seeds, drivers = len(report["seeds"]), report["splits"]["test"]["drivers"]
    figure.suptitle(f"{report['domain']}: {drivers} test drivers, seeds: {seeds}, 95 % intervals", fontsize="medium")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_whole(path, content.getvalue())


def _draw(axes: Any, arms: Mapping[str, Any], measure: str) -> None:
    for aside, key, marker in ((-ASIDE, None, "o"), (ASIDE, "tail", "s")):
        figures = [(arm[key] if key else arm)[measure] for arm in arms.values()]
        known = [(row, figure) for row, figure in enumerate(figures) if None not in figure.values()]
        if not known:
            continue
        means = [figure["mean"] for _, figure in known]
        below = [max(0.0, figure["mean"] - figure["low"]) for _, figure in known]
        above = [max(0.0, figure["high"] - figure["mean"]) for _, figure in known]
        rows = [row + aside for row, _ in known]
        axes.errorbar(means, rows, xerr=[below, above], fmt=marker, capsize=3, label=key or "all test frames")
    axes.set_xlim(-0.03, 1.03)
    axes.grid(axis="x", alpha=0.3)
