"""Whether two classifiers that read the same frames differ: their answers are swapped, driver by driver.

    p = swap_test(first, second, lambda tables: across_tasks(tables)["macro_f1"])

If it made no difference which of them had answered, a swap would change nothing but the luck of the draw
(a paired permutation test, Fisher 1935). Whole drivers are swapped, since the frames of one driver aren't independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from audit.stats.bootstrap import Array
from contract.noise import stream

SWAPS = 1999
"""Random swaps: the smallest p-value is 1 / 2000."""

Tables = Sequence[Array]


def swap_test(
    first: Tables, second: Tables, measure: Callable[[Tables], Array], swaps: int = SWAPS, seed: int = 0
) -> float:
    """Two-sided p-value of the difference in `measure`, averaged over runs.

    first, second: tables [S, G, K, K] of S runs and G drivers, one for each task; `measure` takes tables
    [..., K, K], one for each task, and gives [...]. NaN where the measure is: nothing was compared.
    """
    groups = first[0].shape[1]
    kept = stream(seed, groups, 0).random((swaps, groups)) < 0.5
    kept[0] = True  # nothing swapped: what was observed
    mixed = [
        (_sum(kept, a) + _sum(~kept, b), _sum(~kept, a) + _sum(kept, b)) for a, b in zip(first, second, strict=True)
    ]
    here, there = (measure([pair[side] for pair in mixed]).mean(axis=1) for side in (0, 1))
    apart = np.abs(here - there)
    return float(np.mean(apart >= apart[0] - 1e-12)) if np.isfinite(apart[0]) else math.nan


def _sum(chosen: np.ndarray, tables: Array) -> Array:
    """Sums over the chosen groups [R, G] of tables [S, G, K, K]: [R, S, K, K]."""
    return np.tensordot(chosen.astype(np.float64), tables, axes=(1, 1))
