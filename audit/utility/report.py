"""The result of the experiment: JSON values for machines, tables for people.

report = make_report(arms, pools, results, sources, across)
print(to_text(report))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from audit.report.figures import to_json, with_interval
from audit.stats.confusion import MEASURES
from audit.utility.arms import BASELINES, MORE, REAL, TESTED, Pools
from audit.utility.plan import summary
from audit.utility.runs import Result
from audit.utility.scores import Scores, frames_of_people
from contract.bundle import VERSION

FORMAT = "dms-edge/utility@1"

COMPARED = ("worst_class_recall", "macro_f1")
"""What arms are compared by, on all frames and on the tail."""


def make_report(
    arms: Mapping[str, str],
    pools: Pools,
    results: Mapping[str, Sequence[Result]],
    sources: Mapping[str, Any],
    across: Mapping[str, Any],
    control: bool = False,
) -> dict[str, Any]:
    """Figures of every arm (all test frames, tail, tasks, personal groups) and the comparisons between arms."""
    scores, plan = Scores.of(pools, results), pools.plan
    found: dict[str, Any] = {
        "format": FORMAT,
        "software": VERSION,
        "domain": plan.domain,
        "seeds": list(range(plan.protocol.seeds)),
        "labels": "shuffled" if control else "as given",
        "plan": plan.digest,
        "protocol": plan.protocol.to_dict(),
        "driving": plan.driving.to_dict(),
        "splits": summary(plan, pools.real, pools.splits),
        "sources": dict(sources),
        "chance": {task: 1.0 / classes for task, classes in zip(scores.tasks, scores.classes, strict=True)},
        "arms": {arm: _arm(arm, title, pools, scores, results[arm]) for arm, title in arms.items()},
        "comparisons": _comparisons(arms, scores),
        "synthetic_frames": dict(across),
    }
    report: dict[str, Any] = to_json(found)
    return report


def _arm(arm: str, title: str, pools: Pools, scores: Scores, results: Sequence[Result]) -> dict[str, Any]:
    everything, tail = scores.subsets["all"], scores.subsets["tail"]
    groups = {name: scores.figures(arm, scores.subsets[name]) for name in frames_of_people(pools)}
    return {
        "title": title,
        **scores.figures(arm, everything),
        "tail": scores.figures(arm, tail),
        "tasks": {
            task: scores.figures(arm, everything, (task,)) | {"tail": scores.figures(arm, tail, (task,))}
            for task in scores.tasks
        },
        "groups": groups,
        "runs": [
            {"seed": r.seed, "frames": r.frames, "chosen_at": r.samples, "validation_macro_f1": r.validation}
            | {"seconds": r.seconds, "data": r.data}
            for r in results
        ],
    }


def _comparisons(arms: Mapping[str, str], scores: Scores) -> list[dict[str, Any]]:
    """Arms with synthetic frames against real frames alone, the best of what costs no frame, and the ceiling."""
    tested = [arm for arm in TESTED if arm in arms]
    others = ((REAL,), BASELINES, *(((MORE,),) if MORE in arms else ()))
    return [
        scores.compare(arm, against, subset, measure)
        for arm in tested
        for subset in ("tail", "all")
        for measure in COMPARED
        for against in others
    ]


def to_text(report: Mapping[str, Any]) -> str:
    """The report as tables: all test frames, the tail, the comparisons, the people."""
    arms = report["arms"]
    test = report["splits"]["test"]
    head = (
        f"real frames: {report['domain']}; {test['frames']} test frames of {test['drivers']} drivers,"
        f" {test['tail']} of them in the tail; seeds: {len(report['seeds'])}; labels {report['labels']}"
    )
    names = [name.replace("_", " ") for name in MEASURES]
    parts = [head]
    for title, key in (("all test frames", None), ("tail", "tail")):
        rows = [[arm["title"], *(_cell(arm[key] if key else arm, name) for name in MEASURES)] for arm in arms.values()]
        parts.append(tabulate(rows, [title, *names], "plain"))
    for task in report["chance"]:
        rows = [
            [arm["title"], *(_cell(arm["tasks"][task]["tail"], name) for name in MEASURES)] for arm in arms.values()
        ]
        parts.append(tabulate(rows, [f"tail, {task}", *names], "plain"))
    if report["comparisons"]:
        tail = [_comparison(found) for found in report["comparisons"] if found["frames"] == "tail"]
        parts.append(tabulate(tail, ["tail: difference", "measure", "", "p"], "plain"))
    for name, found in report["synthetic_frames"].items():
        if found:
            rows = [[arms[arm]["title"], *(_cell(found["arms"][arm], m) for m in MEASURES)] for arm in arms]
            parts.append(tabulate(rows, [f"{found['frames']} {name} frames that none trained on", *names], "plain"))
    groups = next(iter(arms.values()))["groups"]
    rows = [[group, *(_cell(arm["groups"][group], "macro_f1") for arm in arms.values())] for group in groups]
    parts.append(tabulate(rows, ["macro f1", *arms], "plain"))
    return "\n\n".join(parts)


def _cell(figures: Mapping[str, Any], name: str) -> str:
    figure = figures[name]
    return with_interval(figure["mean"], (figure["low"], figure["high"]))


def _comparison(found: Mapping[str, Any]) -> list[str]:
    against = found["against"][0] if len(found["against"]) == 1 else f"best of {', '.join(found['against'])}"
    measure = found["measure"].replace("_", " ")
    difference = found["difference"]
    cell = with_interval(difference["mean"], (difference["low"], difference["high"]))
    p = "-" if found["p"] is None else f"{found['p']:.2g}"
    return [f"{found['arm']} - {against}", measure, cell, p]
