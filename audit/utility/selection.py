"""Which frames to take: as scarce as in recordings, until all cells are equally full, or as balanced as classes allow.

rows = skewed(real, driving.shares, rows, 1000, generator)
more = fill(cells_of(real, names)[rows], cells_of(synthetic, names), 9000, generator)
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from audit.utility.inputs import LabelledSet
from contract.errors import Refused

Rows = npt.NDArray[np.int64]


def cells_of(found: LabelledSet, names: Sequence[str]) -> Rows:
    """Which combination of the named class fields' values each frame has: [N]."""
    sizes = [len(found.frames.schema.field(name).values) for name in names]
    return np.ravel_multi_index([found.values(name) for name in names], sizes).astype(np.int64)


def in_tail(found: LabelledSet, tail: Mapping[str, Sequence[str]]) -> npt.NDArray[np.bool_]:
    """Whether a frame has one of the tail's values: [N]."""
    rare = np.zeros(len(found.frames.frames), bool)
    for name, values in tail.items():
        known = found.frames.schema.field(name).values
        rare |= np.isin(found.values(name), [known.index(value) for value in values])
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
        values = found.values(name)[rows]
        field = found.frames.schema.field(name)
        present = np.bincount(values, minlength=len(field.values)) / max(1, len(rows))
        asked = np.array([wanted[value] for value in field.values])
        weights += np.log(asked / np.maximum(present, 1e-12))[values]
    keys = weights - np.log(-np.log(random.random(len(rows))))
    return np.sort(rows[np.argsort(-keys, kind="stable")[:count]])


def fill(there: Rows, pool: Rows, count: int, random: np.random.Generator) -> Rows:
    """Rows of `count` frames of a pool that leave the cells, with those that are there, as equally full as it can.

    there, pool: the cells of frames. Each frame is taken once. Refused where the pool is smaller.
    """
    if len(pool) < count:
        raise Refused(f"{len(pool)} frames to choose from; expected {count}")
    full = np.bincount(there, minlength=int(pool.max(initial=0)) + 1)
    order = random.permutation(len(pool))
    waiting: dict[int, list[int]] = {}
    for row in order.tolist():
        waiting.setdefault(int(pool[row]), []).append(row)
    cells = [(int(full[cell]), float(random.random()), cell) for cell in waiting]
    heapq.heapify(cells)
    chosen: list[int] = []
    while len(chosen) < count:
        level, tie, cell = cells[0]
        chosen.append(waiting[cell].pop())
        if waiting[cell]:
            heapq.heapreplace(cells, (level + 1, tie, cell))
        else:
            heapq.heappop(cells)
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
