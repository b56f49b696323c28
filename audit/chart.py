"""Two charts over the number of steps: how often a frame shows what was asked for, and how far off the frames are.

draw_chart(report)                                  # a page with both, from what `fidelity.json` holds
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from runtime.contact_sheet import BACKGROUND, FONT_SIZE, INK

SIZE = (560, 400)
MARGIN = (64, 40, 20, 48)
"""Left, top, right, bottom, in pixels."""

GRID = (60, 64, 70)
FLOOR = (150, 150, 150)
COLOURS = ((102, 194, 255), (255, 170, 80), (130, 220, 130), (240, 130, 180), (200, 160, 255), (240, 230, 110))
LINE = FONT_SIZE + 4
ASIDE = 6
"""Pixels between the points of two series at one number of steps, so that none hides another."""


class Point(NamedTuple):
    """One run: where it lies, and its interval."""

    steps: int
    value: float
    low: float
    high: float


Series = Mapping[str, Sequence[Point]]


def draw_chart(report: Mapping[str, Any]) -> Image.Image:
    """Both charts with a legend; runs that differ in steps alone are joined."""
    accuracy = series(report["runs"], "mean_class_accuracy")
    distance = series(report["runs"], "fd_dms")
    page = Image.new("RGB", (2 * SIZE[0], SIZE[1] + LINE * (len(accuracy) + 1)), BACKGROUND)
    floor = next((item["fd_dms"] for item in report["floors"] if item["frames"] == report["frames"]), None)
    page.paste(_panel("mean class accuracy", accuracy, report["annotator"]["mean_class_accuracy"]), (0, 0))
    page.paste(_panel("FD-dms", distance, floor), (SIZE[0], 0))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=FONT_SIZE)
    for number, name in enumerate(accuracy):
        draw.text((MARGIN[0], SIZE[1] + number * LINE), name, _colour(number), font)
    draw.text((MARGIN[0], SIZE[1] + len(accuracy) * LINE), "grey: rendered frames", FLOOR, font)
    return page


def series(runs: Sequence[Mapping[str, Any]], figure: str) -> dict[str, list[Point]]:
    """Points by what they share (model, sampler, precision, guidance, frames), in order of their steps."""
    found: dict[str, list[Point]] = {}
    for run in runs:
        name = f"{run['model']} {run['sampler']} {run['precision']} g{run['guidance']:g}, {run['frames']} frames"
        low, high = run["intervals"][figure]
        found.setdefault(name, []).append(Point(run["steps"], run[figure], low, high))
    return {name: sorted(points) for name, points in found.items()}


def _panel(title: str, found: Series, floor: float | None) -> Image.Image:
    panel = Image.new("RGB", SIZE, BACKGROUND)
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(size=FONT_SIZE)
    points = [point for each in found.values() for point in each]
    values = [v for p in points for v in (p.low, p.high)] + ([floor] if floor is not None else [])
    low, high = _padded(min(values), max(values))
    first, last = _padded(*(math.log(pick(p.steps for p in points)) for pick in (min, max)))
    left, right, top, bottom = MARGIN[0], SIZE[0] - MARGIN[2], MARGIN[1], SIZE[1] - MARGIN[3]

    def x(steps: int) -> float:
        return left + (math.log(steps) - first) / (last - first) * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    draw.text((left, 10), title, INK, font)
    for value in (low + (high - low) * i / 4 for i in range(5)):
        draw.line((left, y(value), right, y(value)), GRID)
        draw.text((8, y(value) - FONT_SIZE / 2), f"{value:.3g}", INK, font)
    for steps in sorted({point.steps for point in points}):
        draw.text((x(steps) - 6, bottom + 6), str(steps), INK, font)
    draw.text((left, bottom + 6 + LINE), "steps", INK, font)
    if floor is not None:
        draw.line((left, y(floor), right, y(floor)), FLOOR, 2)
    for number, each in enumerate(found.values()):
        colour, aside = _colour(number), ASIDE * (number - (len(found) - 1) / 2)
        draw.line([(x(point.steps) + aside, y(point.value)) for point in each], colour, 2)
        for point in each:
            across, up = x(point.steps) + aside, y(point.value)
            draw.line((across, y(point.low), across, y(point.high)), colour, 2)
            draw.ellipse((across - 4, up - 4, across + 4, up + 4), colour)
    return panel


def _padded(low: float, high: float) -> tuple[float, float]:
    pad = (high - low) * 0.08 or max(abs(high) * 0.08, 0.05)
    return low - pad, high + pad


def _colour(number: int) -> tuple[int, int, int]:
    return COLOURS[number % len(COLOURS)]
