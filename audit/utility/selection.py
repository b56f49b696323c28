"""Which frames to take: as scarce as in recordings, until all strata are equally full, or as balanced as classes allow.

rows = skewed(real, driving.shares, rows, 1000, generator)
more = fill(strata_of(real, names), strata_of(synthetic, names), 9000, generator)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from audit.utility.inputs import LabelledSet
from training.hybrid import Stratum, fill_evenly

Rows = npt.NDArray[np.int64]


def in_tail(found: LabelledSet, tail: Mapping[str, Sequence[str]]) -> npt.NDArray[np.bool_]:
    """Whether a frame's label has one of the tail's values: [N]."""
    rare = np.zeros(len(found.frames.frames), bool)
    for name, values in tail.items():
        known = found.frames.schema.field(name).values
        rare |= np.isin(found.labels(name), [known.index(value) for value in values])  # -1, no label, is none of them
    return rare


def skewed(
    found: LabelledSet, shares: Mapping[str, Mapping[str, float]], rows: Rows, count: int, random: np.random.Generator
) -> Rows:
    """`count` of the rows, whose values are about as frequent as `shares` asks, field by field: sorted [count].

    Drawn without repetition with weights (Efraimidis and Spirakis 2006): where a pool has too few frames of a frequent
    combination, the result is less skewed than asked for.
    """
    weights = np.zeros(len(rows))
    for name, wanted in shares.items():
        labels = found.labels(name)[rows]
        values = found.frames.schema.field(name).values
        known = labels >= 0
        present = np.bincount(labels[known], minlength=len(values)) / max(1, int(known.sum()))
        asked = np.array([wanted[value] for value in values])
        weights[known] += np.log(asked / np.maximum(present, 1e-12))[labels[known]]  # neutral without a label
    keys = weights - np.log(-np.log(random.random(len(rows))))
    return np.sort(rows[np.argsort(-keys, kind="stable")[:count]])


def fill(there: Sequence[Stratum], pool: Sequence[Stratum], count: int, random: np.random.Generator) -> Rows:
    """Rows of `count` frames of a pool that leave the strata, with those that are there, as equally full as it can.

    there, pool: the stratum of each frame. Each frame is taken once: expects `count` of them or more.
    """
    members: dict[Stratum, list[int]] = {}
    for row in random.permutation(len(pool)).tolist():
        members.setdefault(pool[row], []).append(row)
    # strata that are equally full take turns in a random order
    names = {stratum: (f"{place:08d}", *stratum) for place, stratum in enumerate(members)}
    full = Counter(names[stratum] for stratum in there if stratum in names)
    counts = fill_evenly(count, full, {names[stratum]: len(rows) for stratum, rows in members.items()})
    chosen = [row for stratum, rows in members.items() for row in rows[: counts[names[stratum]]]]
    return np.sort(np.array(chosen, np.int64))


def balanced(classes: Sequence[Rows], count: int, random: np.random.Generator) -> Rows:
    """`count` rows with repetition, each at least once, in which the classes of every task are about equally frequent.

    classes: [N] for each task. A frame's weight is the mean over the tasks of one over its class's frequency.
    """
    frames = len(classes[0])
    weight = np.zeros(frames)
    for task in classes:
        _, place, present = np.unique(task, return_inverse=True, return_counts=True)
        weight += 1.0 / (len(present) * present[place])
    expected = 1.0 + (count - frames) * weight / weight.sum()
    whole = np.floor(expected).astype(np.int64)
    rest = expected - whole
    keys = np.log(np.maximum(rest, 1e-12)) - np.log(-np.log(random.random(frames)))
    whole[np.argsort(-keys, kind="stable")[: count - int(whole.sum())]] += 1
    return np.repeat(np.arange(frames), whole)
