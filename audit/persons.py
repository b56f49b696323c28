"""Figures by what belongs to a person: each value of a class, each part of a number's range.

personal_groups(schema, conditions)["skin_tone"]["0 to 0.333"]      # bool [N]: which frames
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from contract.conditions import Schema
from contract.field import Condition, Field, Value

GROUPS = 3
"""Equal parts of the range of a person's number (skin tone) that figures are told apart by."""


def personal_groups(schema: Schema, conditions: Sequence[Condition]) -> dict[str, dict[str, npt.NDArray[np.bool_]]]:
    """Which frames are of which people, bool [N], by personal field and label."""
    found = {}
    for field in schema.fields:
        if field.personal:
            grouping = Grouping(field, GROUPS)
            labels = np.array([grouping.label(condition[field.name]) for condition in conditions])
            found[field.name] = {label: labels == label for label in grouping.labels}
    return found


class Grouping:
    """The values of a class field, or the equal parts of a number's range, as labels."""

    def __init__(self, each: Field, parts: int) -> None:
        self._field, self._parts = each, parts
        edges = [each.low + (each.high - each.low) * row / parts for row in range(parts + 1)]
        ranges = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
        self.labels = list(each.values) if each.is_class else ranges

    def label(self, value: Value) -> str:
        """The label that a value belongs to."""
        if self._field.is_class:
            return str(value)
        part = (float(value) - self._field.low) / (self._field.high - self._field.low)
        return self.labels[min(self._parts - 1, max(0, int(part * self._parts)))]
