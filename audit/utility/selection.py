"""Which frames to take: as scarce as in recordings, until all strata are equally full, or as balanced as classes allow.

rows = skewed(real, driving, rows, 1000, generator)
more = fill(strata_of(real, names), strata_of(synthetic, names), 9000, generator)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from audit.utility.driving import Driving
from audit.utility.inputs import LabelledSet
from training.hybrid import Stratum, fill_evenly

Rows = npt.NDArray[np.int64]

ROUNDS, CLOSE = 200, 1e-4
"""Of raking: how many at most, and the difference from a share at which it ends."""

TINY, LEAST_LOG = 1e-12, 40.0
"""Below them shares and weights count as none; without them a share that can't be met would overflow."""


def in_tail(found: LabelledSet, tail: Mapping[str, Sequence[str]]) -> npt.NDArray[np.bool_]:
    """Whether a frame's label has one of the tail's values: [N]."""
    rare = np.zeros(len(found.frames.frames), bool)
    for name, values in tail.items():
        known = found.frames.schema.field(name).values
        rare |= np.isin(found.labels(name), [known.index(value) for value in values])  # -1, no label, is none of them
    return rare


def skewed(found: LabelledSet, driving: Driving, rows: Rows, count: int, random: np.random.Generator) -> Rows:
    """`count` of the rows, as scarce in rare values as recordings are: sorted [count], all rows where there are fewer.

    Values of the tail are as frequent as their shares ask, in the mean over draws; the others lean toward theirs, as
    far as a pool has frames that are ordinary in every respect. (Chances of being drawn are calibrated by raking,
    Deville and Sarndal 1992; systematic sampling in a random order gives each frame its chance.)
    """
    if count >= len(rows):
        return np.sort(rows)
    logs, best = np.zeros(len(rows)), (np.inf, np.zeros(0))
    groups = []
    for name, shares in driving.shares.items():
        labels, values = found.labels(name)[rows], found.frames.schema.field(name).values
        asked, tail = np.array([shares[value] for value in values]), driving.tail.get(name, ())
        _rescale(logs, labels, asked, np.full(len(rows), count / len(rows)))
        # a group for each value of the tail; all others are group 0
        group = np.array([1 + tail.index(value) if value in tail else 0 for value in values])
        groups.append((np.where(labels < 0, -1, group[labels]), np.bincount(group, asked).astype(np.float64)))
    for _ in range(ROUNDS):
        apart = max(_rescale(logs, group, asked, _chances(logs, count)) for group, asked in groups)
        best = min(best, (apart, _chances(logs, count)), key=lambda tried: tried[0])
        if apart < CLOSE:
            break
    order = random.permutation(len(rows))
    ends = np.cumsum(best[1][order])
    places = np.searchsorted(ends * (count / ends[-1]), np.arange(count) + random.random(), side="right")
    return np.sort(rows[order[places]])


def _rescale(
    logs: npt.NDArray[np.float64], groups: Rows, asked: npt.NDArray[np.float64], chances: npt.NDArray[np.float64]
) -> float:
    """Move `logs` of weights [N], in place, so that `groups` [N] get the shares that are `asked` [K]; group -1 stays.

    Returns how far the worst share was off, by the `chances` [N] from before.
    """
    known = groups >= 0
    present = np.bincount(groups[known], chances[known], minlength=len(asked)) / max(chances[known].sum(), TINY)
    there = present > 0  # a value that no frame has can't be had
    logs[known] += np.log(np.maximum(asked, TINY) / np.maximum(present, TINY))[groups[known]]
    return float(np.abs(present - asked)[there].max(initial=0.0))


def _chances(logs: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Of each frame being one of `count`: proportional to its weight, at most 1, and `count` in all."""
    weights = np.exp(np.clip(logs - logs.max(), -LEAST_LOG, 0.0))
    certain = np.zeros(len(weights), bool)
    while True:
        scaled = weights * (count - certain.sum()) / weights[~certain].sum()
        more = ~certain & (scaled > 1.0)
        if not more.any():
            return np.where(certain, 1.0, scaled)
        certain |= more


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

    classes: [N] for each task, below 0 where a frame hides it. A frame's weight is the mean over the tasks of one over
    its class's frequency; what it hides counts for nothing.
    """
    frames = len(classes[0])
    weight = np.zeros(frames)
    for task in classes:
        shown = task >= 0
        _, place, present = np.unique(task[shown], return_inverse=True, return_counts=True)
        weight[shown] += 1.0 / (len(present) * present[place])
    expected = 1.0 + (count - frames) * weight / weight.sum()
    whole = np.floor(expected).astype(np.int64)
    rest = expected - whole
    keys = np.log(np.maximum(rest, 1e-12)) - np.log(-np.log(random.random(frames)))
    whole[np.argsort(-keys, kind="stable")[: count - int(whole.sum())]] += 1
    return np.repeat(np.arange(frames), whole)
