"""What the answers are worth: every figure with its interval over drivers and seeds, and paired tests between arms.

scores = Scores.of(pools, results)
scores.figures("real", scores.subsets["tail"])      # {"accuracy": {"mean": .., "low": .., "high": ..}, ...}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.persons import personal_groups
from audit.stats.bootstrap import Array, interval, resamples
from audit.stats.confusion import across_tasks, confusion_by_group
from audit.stats.paired import swap_test
from audit.utility.arms import Pools
from audit.utility.runs import Result, answers_of
from audit.utility.selection import in_tail

Chosen = npt.NDArray[np.bool_]

DRIVER_SEED, RUN_SEED = 0, 1


@dataclass(frozen=True)
class Scores:
    """The answers of every arm beside the truth, on the same test frames."""

    tasks: tuple[str, ...]
    classes: tuple[int, ...]
    """How many, by task."""
    true: npt.NDArray[np.int64]
    """[tasks, frames], -1 where a frame hides it"""
    answers: Mapping[str, npt.NDArray[np.int64]]
    """By arm: [tasks, seeds, frames]"""
    drivers: npt.NDArray[np.int64]
    """[frames], numbered from 0"""
    subsets: Mapping[str, Chosen]
    """`all`, `tail`, and `field=value` of every personal field: which test frames they are"""

    @staticmethod
    def of(pools: Pools, results: Mapping[str, Sequence[Result]]) -> Scores:
        """Gather truth, answers, drivers and subsets of the test frames."""
        real, rows, tasks = pools.real, pools.splits.test, pools.plan.tasks
        _, drivers = np.unique(real.drivers[rows], return_inverse=True)
        subsets = {"all": np.ones(len(rows), bool), "tail": in_tail(real, pools.plan.driving.tail)[rows]}
        return Scores(
            tasks,
            tuple(len(real.frames.schema.field(task).values) for task in tasks),
            np.stack([real.classes(task)[rows] for task in tasks]),
            {arm: np.stack([answers_of(found, task) for task in tasks]) for arm, found in results.items()},
            drivers.astype(np.int64),
            subsets | {name: chosen[rows] for name, chosen in frames_of_people(pools).items()},
        )

    def tables(self, arm: str, chosen: Chosen, tasks: Sequence[str] | None = None) -> list[Array]:
        """Confusions [seeds, drivers, K, K] of each task over the chosen frames."""
        count, tables = int(self.drivers.max()) + 1, []
        for number, (task, classes) in enumerate(zip(self.tasks, self.classes, strict=True)):
            if tasks is None or task in tasks:
                true = np.where(chosen, self.true[number], -1)
                seeds = self.answers[arm][number]
                each = [confusion_by_group(true, answers, self.drivers, classes, count) for answers in seeds]
                tables.append(np.stack(each))
        return tables

    def samples(self, arm: str, chosen: Chosen, tasks: Sequence[str] | None = None) -> dict[str, Array]:
        """Every measure as means over seeds: the figure, then 1000 resamples of drivers and seeds, [1001]."""
        tables = self.tables(arm, chosen, tasks)
        seeds, drivers = tables[0].shape[:2]
        weights = np.concatenate([np.ones((1, drivers)), resamples(drivers, seed=DRIVER_SEED)])
        chances = np.concatenate([np.ones((1, seeds)), resamples(seeds, seed=RUN_SEED)]) / seeds
        mixed = [np.tensordot(weights, table, axes=(1, 1)) for table in tables]
        return {name: (values * chances).sum(axis=1) for name, values in across_tasks(mixed).items()}

    def figures(self, arm: str, chosen: Chosen, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """Mean, low and high of each measure."""
        return {name: _with_interval(values) for name, values in self.samples(arm, chosen, tasks).items()}

    def compare(self, arm: str, others: Sequence[str], subset: str, measure: str) -> dict[str, Any]:
        """How much better an arm is than the best of the others, with the larger of the paired tests' p-values.

        The best is taken in each resample, so that having a choice is no advantage to the arm.
        """
        chosen = self.subsets[subset]
        theirs = np.stack([self.samples(other, chosen)[measure] for other in others])
        apart = self.samples(arm, chosen)[measure] - theirs.max(axis=0)
        mine = self.tables(arm, chosen)
        values = [swap_test(mine, self.tables(o, chosen), lambda t: across_tasks(t)[measure]) for o in others]
        about = {"arm": arm, "against": list(others), "frames": subset, "measure": measure}
        return about | {"difference": _with_interval(apart), "p": float(np.max(values))}


def frames_of_people(pools: Pools) -> dict[str, Chosen]:
    """Frames by what belongs to the person, where they show it."""
    source, groups = pools.real.frames, dict[str, Chosen]()
    for name, labels in personal_groups(source.schema, source.schema.decode(source.conditions)).items():
        shown = ~source.hidden[:, source.schema.names.index(name)]
        groups |= {f"{name}={label}": chosen & shown for label, chosen in labels.items()}
    return groups


def _with_interval(values: Array) -> dict[str, float]:
    low, high = interval(values[1:])
    return {"mean": float(values[0]), "low": low, "high": high}
