"""The binomial distribution, and the interval of a share of successes.

binomial_pmf(10, 0.5)[8:].sum()             # P[at least 8 of 10] = 0.0547
wilson_interval(8, 10)                      # (0.490, 0.943): Wilson 1927
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from audit.stats.bootstrap import Array, Interval

NORMAL_975 = 1.959964
"""Standard deviations from the mean within which 95 % of a normal distribution are: its quantile of 0.975."""

BISECTIONS = 60
"""Halvings of an interval: far below the rounding of a figure."""


def binomial_pmf(trials: int, probability: float) -> Array:
    """P[exactly k of `trials`] for k = 0 .. trials, float64 [trials + 1]."""
    if probability in (0.0, 1.0):
        return np.asarray(np.eye(trials + 1)[trials if probability else 0])
    k = np.arange(trials + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    log_ways = log_factorial[-1] - log_factorial - log_factorial[::-1]
    return np.asarray(np.exp(log_ways + k * math.log(probability) + (trials - k) * math.log1p(-probability)))


def wilson_interval(successes: int, trials: int) -> Interval:
    """The 95 % interval of a probability (Wilson 1927, JASA 22), in constant time; at least one trial."""
    share, z = successes / trials, NORMAL_975**2 / trials
    middle, half = (share + z / 2) / (1 + z), math.sqrt(z * (share * (1 - share) + z / 4)) / (1 + z)
    return max(0.0, middle - half), min(1.0, middle + half)


def bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function crosses 0 between `low` and `high`; the nearer end where it doesn't."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (low, middle) if rising(middle) > 0.0 else (middle, high)
    return low
