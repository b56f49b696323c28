"""What differential privacy proves of somebody's data, as lineages, datasets and shards state it.

budget = budget_of(lineage)                  # Budget(epsilon=3.0, delta=1e-05, unit='driver'), or None
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

UNITS = ("frame", "driver")
"""Whose contribution is bounded."""

KEYS = ("epsilon", "delta", "unit")


class StatedBudget(NamedTuple):
    """An epsilon means nothing without the other two."""

    epsilon: float
    delta: float
    unit: str

    def __str__(self) -> str:
        return f"epsilon {self.epsilon:g} at delta {self.delta:g} for each {self.unit}"


def budget_of(stated: Mapping[str, Any]) -> StatedBudget | None:
    """The budget that an object states under KEYS; None where it states none, ValueError where it is partial or odd."""
    epsilon: Any
    delta: Any
    unit: Any
    epsilon, delta, unit = (stated.get(key) for key in KEYS)
    if epsilon is None and delta is None and unit is None:
        return None
    numbers = all(type(value) in (int, float) for value in (epsilon, delta))
    if not numbers or not 0 <= epsilon < math.inf or not 0 <= delta < 1 or unit not in UNITS:
        found = f"epsilon {epsilon!r}, delta {delta!r}, unit {unit!r}"
        raise ValueError(f"{found}; expected numbers, delta below 1, and frame or driver, or none of them")
    return StatedBudget(float(epsilon), float(delta), unit)
