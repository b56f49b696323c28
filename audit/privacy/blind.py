"""Can members be told from non-members without the model? Then the split is biased, and no figure means anything.

finding = blind_finding(frames, conditions, population)       # p_value <= LEVEL: the audit is INVALID

(arXiv 2406.16201: many published attacks were beaten by such a classifier.)
"""

from __future__ import annotations

import numpy as np

from audit.privacy.attack import Finding, Population, membership_finding
from audit.stats.bootstrap import Array
from audit.stats.roc import Bools
from contract.conditions import Array as Conditions
from contract.frames import Frames
from contract.thumbnails import thumbnails

LEVEL = 0.01
"""Of the permutation test: one fair split in a hundred is refused."""

RIDGE = 0.05
"""Added to the variance of every standardized column: there may be more columns than frames."""

NAME = "blind classifier"


def blind_finding(frames: Frames, conditions: Conditions, population: Population, seed: int = 0) -> Finding:
    """A ridge classifier on pixels and conditions, trained on the drivers that aren't scored."""
    columns = np.concatenate([thumbnails(frames), _moments(frames), conditions], axis=1)
    trained = ~population.scored
    scores = _ridge(columns[trained], population.members[trained], columns)
    return membership_finding(NAME, "without the model", scores[None], population, seed)


def _moments(frames: Frames) -> Array:
    """Mean and deviation of each channel, and of neighbouring differences: exposure, contrast, sharpness."""
    pixels = frames.astype(np.float64) / 255.0
    steps = np.abs(np.diff(pixels, axis=2))
    return np.concatenate([pixels.mean((1, 2)), pixels.std((1, 2)), steps.mean((1, 2)), steps.std((1, 2))], axis=1)


def _ridge(known: Array, members: Bools, columns: Array) -> Array:
    mean, deviation = known.mean(axis=0), known.std(axis=0) + 1e-9
    x, y = (known - mean) / deviation, np.where(members, 1.0, -1.0) - np.where(members, 1.0, -1.0).mean()
    slopes = np.linalg.solve(x.T @ x + RIDGE * len(x) * np.eye(x.shape[1]), x.T @ y)
    return np.asarray((columns - mean) / deviation @ slopes)
