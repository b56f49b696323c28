"""Intervals of a share of successes, and the exact binomial tails that one of them follows from.

binomial_tail(8, 10, 0.5)                   # P[at least 8 of 10] = 0.0547
proportion_interval(8, 10)                  # (0.444, 0.975), exact: Clopper and Pearson 1934
wilson_interval(8, 10)                      # (0.490, 0.943), for any number of trials: Wilson 1927
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from audit.stats.bootstrap import SHARE, Array, Interval

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


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """P[at least `successes` of `trials`]."""
    return float(min(1.0, binomial_pmf(trials, probability)[max(successes, 0) :].sum()))


def proportion_interval(successes: int, trials: int, share: float = SHARE) -> Interval:
    """The exact interval of a probability (Clopper and Pearson 1934); (0, 1) without trials."""
    tail = (1.0 - share) / 2.0
    low = 0.0 if successes == 0 else bisect(lambda p: binomial_tail(successes, trials, p) - tail, 0.0, 1.0)
    below = lambda p: tail - (1.0 - binomial_tail(successes + 1, trials, p))  # noqa: E731
    return low, 1.0 if successes == trials else bisect(below, 0.0, 1.0)


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
