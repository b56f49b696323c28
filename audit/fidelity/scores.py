"""Does a frame show what was asked for? Right or wrong for each class field, absolute error for each number.

    scores = score(schema, annotation, conditions)
    figures(scores, resamples(len(conditions)))       # mean_class_accuracy, class_accuracy, mae, intervals

What the condition hides (eyes behind sunglasses, a mouth behind a mask) isn't scored. Yaw and pitch of one direction,
which the schema's roles name, are also scored together as an angle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.persons import personal_groups
from audit.stats.bootstrap import Array, interval
from contract.annotation import Annotation, class_fields, number_fields
from contract.conditions import Schema
from contract.field import Condition

DIRECTIONS = {"gaze_angle": ("gaze_yaw", "gaze_pitch"), "head_angle": ("head_yaw", "head_pitch")}
"""Roles of the two numbers that make one direction, by the name of the column that scores them together."""


@dataclass(frozen=True)
class Scores:
    """One column for each class field, then for each number, then for each angle."""

    names: tuple[str, ...]
    classes: int
    """How many of the columns are class fields."""
    values: Array
    """[N, M]: 1 for a right class and 0 for a wrong one; absolute errors in their units"""
    shown: npt.NDArray[np.bool_]
    """[N, M]: whether the frame shows it"""

    def of(self, chosen: npt.NDArray[np.bool_]) -> Scores:
        """The scores of some frames, bool [N]."""
        return replace(self, values=self.values[chosen], shown=self.shown[chosen])

    def first(self, count: int) -> Scores:
        """The scores of the first frames alone."""
        return replace(self, values=self.values[:count], shown=self.shown[:count])

    def means(self, weights: Array) -> Array:
        """Mean of every column over the frames that show it, for weights [R, N]: [R, M], NaN where none does."""
        counts = weights @ self.shown
        with np.errstate(invalid="ignore"):
            means: Array = weights @ (self.values * self.shown) / counts
        return means

    def mean_class_accuracy(self, weights: Array) -> Array:
        """The plain mean over the class fields, for weights [R, N]: [R]."""
        means = self.means(weights)[:, : self.classes]
        known = np.isfinite(means)
        with np.errstate(invalid="ignore"):
            mean: Array = np.where(known, means, 0.0).sum(axis=1) / known.sum(axis=1)
        return mean


def score(schema: Schema, annotation: Annotation, conditions: Sequence[Condition]) -> Scores:
    """Compare what was read from N frames with the N conditions that they were asked for."""
    hidden = [schema.hidden(condition) for condition in conditions]
    values: dict[str, Array] = {}
    for name, columns in class_fields(schema).items():
        codes = {value: code for code, value in enumerate(schema.field(name).values)}
        wanted = np.array([codes[str(condition[name])] for condition in conditions])
        values[name] = (annotation.probabilities[:, columns].argmax(axis=1) == wanted).astype(np.float64)
    classes = len(values)
    for name, column in number_fields(schema).items():
        wanted = np.array([float(condition[name]) for condition in conditions])
        values[name] = np.abs(annotation.numbers[:, column].astype(np.float64) - wanted)
    shown = {name: np.array([name not in names for names in hidden]) for name in values}
    for angle, (yaw, pitch) in angles(schema).items():
        values[angle] = np.hypot(values[yaw], values[pitch])
        shown[angle] = shown[yaw] & shown[pitch]
    names = tuple(values)
    stacked = np.stack([values[name] for name in names], axis=1)
    return Scores(names, classes, stacked, np.stack([shown[name] for name in names], axis=1))


def angles(schema: Schema) -> dict[str, tuple[str, str]]:
    """Names of the two fields of every direction that the schema has, by the column that scores them together."""
    fields = {angle: tuple(map(schema.with_role, roles)) for angle, roles in DIRECTIONS.items()}
    return {angle: (yaw.name, pitch.name) for angle, (yaw, pitch) in fields.items() if yaw and pitch}


def units(schema: Schema) -> dict[str, str]:
    """The unit of every error, by the name of its column; empty for a share."""
    found = {name: schema.field(name).unit for name in number_fields(schema)}
    return found | {angle: schema.field(yaw).unit for angle, (yaw, _) in angles(schema).items()}


def by_person(schema: Schema, scores: Scores, conditions: Sequence[Condition], weights: Array) -> dict[str, Any]:
    """Mean class accuracy by every personal field and label, for resamples `weights` [R, N]."""
    found: dict[str, dict[str, Any]] = {}
    for name, groups in personal_groups(schema, conditions).items():
        for label, chosen in groups.items():
            if chosen.any():
                some, whole = scores.of(chosen), np.ones((1, int(chosen.sum())))
                found.setdefault(name, {})[label] = {
                    "frames": int(chosen.sum()),
                    "mean_class_accuracy": float(some.mean_class_accuracy(whole)[0]),
                    "interval": interval(some.mean_class_accuracy(weights[:, chosen])),
                }
    return found


def figures(scores: Scores, weights: Array) -> dict[str, Any]:
    """The figures of a report with their intervals over the resamples `weights` [R, N]."""
    whole = np.ones((1, len(scores.values)))
    mean, means = scores.mean_class_accuracy(whole)[0], scores.means(whole)[0]
    resampled = scores.means(weights)
    bounds = [interval(column) for column in resampled.T]
    named = list(zip(scores.names, means.tolist(), bounds, strict=True))
    right, errors = named[: scores.classes], named[scores.classes :]
    return {
        "mean_class_accuracy": float(mean),
        "class_accuracy": {name: value for name, value, _ in right},
        "mae": {name: value for name, value, _ in errors},
        "intervals": {
            "mean_class_accuracy": interval(scores.mean_class_accuracy(weights)),
            "class_accuracy": {name: bound for name, _, bound in right},
            "mae": {name: bound for name, _, bound in errors},
        },
    }
