"""How classifiers read synthetic frames that none of them trained on: it tells wrong labels from a domain gap.

    figures = read_across(pools, pools.synthetic, results, folder / "runs")
    figures["arms"]["more_real"]["macro_f1"]

A classifier of real frames that agrees with the labels of synthetic ones says that these show what they are called.
One of synthetic frames that reads others of them well and real ones badly says that the two look different.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audit.utility.arms import Pools, set_aside
from audit.utility.classifier import predict, read_network
from audit.utility.inputs import LabelledSet, task_frames
from audit.utility.runs import Result
from audit.utility.scores import Scores

EVERYTHING = "all"


def read_across(
    pools: Pools, found: LabelledSet, results: Mapping[str, Sequence[Result]], folder: Path
) -> dict[str, Any] | None:
    """Figures of every arm on the synthetic frames that were set aside; None where there are none.

    folder: where the classifiers are kept. Intervals are over frames and seeds.
    """
    rows, source = set_aside(found, pools.plan.protocol)[1], task_frames(found)
    if not len(rows):
        return None
    networks = {arm: [read_network(folder / r.network, source) for r in runs] for arm, runs in results.items()}
    frames = source.frames[rows]
    answers = {arm: np.stack([predict(n, frames).T for n in each], axis=1) for arm, each in networks.items()}
    scores = Scores(
        found.tasks,
        tuple(len(field.values) for field in source.schema.fields),
        np.stack([found.classes(task)[rows] for task in found.tasks]),
        answers,
        np.arange(len(rows)),
        {EVERYTHING: np.ones(len(rows), bool)},
    )
    arms = {arm: scores.figures(arm, scores.subsets[EVERYTHING]) for arm in results}
    return {"frames": len(rows), "arms": arms}
