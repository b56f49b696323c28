"""Confusion tables of a classifier, and what is read from them.

    tables = confusion_by_group(true, predicted, drivers, classes=4)     # [G, K, K], one a driver
    measures(tables.sum(axis=0))["worst_class_recall"]

Tables add up, so that a resample of drivers is a weighted sum of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from audit.stats.bootstrap import Array

Labels = npt.NDArray[np.int64]

MEASURES = ("accuracy", "recall", "precision", "macro_f1", "worst_class_recall")
"""Accuracy; recall, precision and F1 as means over the classes; and the recall of the class that is found least."""


def confusion_by_group(true: Labels, predicted: Labels, groups: Labels, classes: int, count: int) -> Array:
    """How often each class (rows) is taken for each class (columns) in each of `count` groups: [count, K, K].

    A frame whose true class is negative isn't counted.
    """
    known = true >= 0
    cells = (groups[known] * classes + true[known]) * classes + predicted[known]
    tables = np.bincount(cells, minlength=count * classes * classes).astype(np.float64)
    return tables.reshape(count, classes, classes)


def measures(tables: Array) -> dict[str, Array]:
    """MEASURES of each table [..., K, K]: [...], NaN where it holds no frame.

    A class without frames counts nowhere; one that is never predicted has a precision of 0.
    """
    hits = np.diagonal(tables, axis1=-2, axis2=-1)
    there, claimed, total = tables.sum(axis=-1), tables.sum(axis=-2), tables.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(there > 0, hits / there, np.nan)
        precision = np.where(there > 0, np.where(claimed > 0, hits / claimed, 0.0), np.nan)
        f1 = np.where(there > 0, 2.0 * hits / (there + claimed), np.nan)
        accuracy = np.where(total > 0, hits.sum(axis=-1) / total, np.nan)
    means = (_mean(values) for values in (recall, precision, f1))
    return dict(zip(MEASURES, (accuracy, *means, _least(recall)), strict=True))


def across_tasks(tables: Sequence[Array]) -> dict[str, Array]:
    """MEASURES over several tasks, whose tables [..., K, K] differ in K: means, and the worst class of all tasks."""
    each = [measures(task) for task in tables]
    joined = {name: np.stack([found[name] for found in each], axis=-1) for name in MEASURES}
    worst = joined.pop("worst_class_recall")
    return {name: _mean(values) for name, values in joined.items()} | {"worst_class_recall": _least(worst)}


def _mean(values: Array) -> Array:
    """Mean over the last axis of what has a value."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=-1) / known.sum(axis=-1))


def _least(values: Array) -> Array:
    """Minimum over the last axis of what has a value."""
    least = np.where(np.isfinite(values), values, np.inf).min(axis=-1)
    return np.asarray(np.where(np.isfinite(least), least, np.nan))
