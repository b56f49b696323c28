"""Intervals by drawing the same frames again with repetition (Efron 1979): 95 %, seeded.

    weights = resamples(len(frames))                  # how often each frame occurs, [R, N]
    low, high = interval(weights @ right / weights.sum(axis=1))

Every measure takes weights, so that two runs that share conditions and noise are resampled together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from contract.noise import stream

Array = npt.NDArray[np.float64]
Interval = tuple[float, float]

RESAMPLES = 1000
SHARE = 0.95


def resamples(count: int, number: int = RESAMPLES, seed: int = 0) -> Array:
    """How often each of `count` frames occurs in each resample: float64 [number, count], rows that sum to `count`."""
    generator = stream(seed, count, 0)
    return generator.multinomial(count, np.full(count, 1.0 / count), size=number).astype(np.float64)


def interval(samples: Array) -> Interval:
    """The percentiles between which 95 % of a figure's resamples lie; NaN where no resample has a value."""
    known = samples[np.isfinite(samples)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1.0 - SHARE) / 2.0, (1.0 + SHARE) / 2.0])
    return float(low), float(high)


def moved_interval(value: float, samples: Array, least: float = -np.inf) -> Interval:
    """As `interval`, with the resamples moved so that their mean is the figure itself, and none below `least`.

    For figures that fewer distinct frames make larger, as a Frechet distance: a resample repeats some frames and
    leaves out others, so that its percentiles alone would lie above the figure that they belong to.
    """
    low, high = interval(samples - np.mean(samples) + value)
    return max(low, least), max(high, least)


def group_resamples(groups: npt.NDArray[np.int64], number: int = RESAMPLES, seed: int = 0) -> Array:
    """As `resamples`, with whole groups drawn again: how often each of N frames occurs, float64 [number, N].

    `groups` [N] says whose frame it is. Frames of one person resemble each other, so that resampling frames alone
    would make intervals too narrow.
    """
    known, inverse = np.unique(groups, return_inverse=True)
    return resamples(len(known), number, seed)[:, inverse]
