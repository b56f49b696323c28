"""Figures as JSON values and as text.

to_json({"auc": 0.51234567, "interval": (0.5, float("nan"))})     # {"auc": 0.512346, "interval": [0.5, None]}
with_interval(0.51234567, (0.49, 0.53))                           # "0.512 [0.49, 0.53]"
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

DIGITS = 6
"""Significant ones, of every figure in a report."""


def to_json(value: Any) -> Any:
    """JSON values: rounded numbers, null for what has no value, lists for intervals."""
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value


def with_interval(value: float | None, bounds: Sequence[float | None]) -> str:
    """A figure with its interval in three digits; `-` where either is missing."""
    return "-" if value is None or None in bounds else f"{value:.3g} [{bounds[0]:.3g}, {bounds[1]:.3g}]"
