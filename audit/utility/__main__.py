"""Do synthetic frames help? The same classifier, trained on real frames with and without them, on the same budget.

    python -m audit.utility build/pseudoreal128 --plan-only
    python -m runtime.generate build/bundle --balance build/utility/training.jsonl --by ... -o build/synthetic
    python -m audit.utility build/pseudoreal128 --synthetic build/synthetic

`plan.json` in the output folder fixes sizes, tail, drivers and test set before anything is trained; another run with
other frames is refused. Every run's answers are kept, so that the same command continues after an interruption.
The folder also gets `examples.png` (frames of every class), `utility.json` and `utility.png`.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from audit.lineage.model_lineage import read_model_lineage
from audit.utility.arms import SET_ASIDE, Pools, arms_of
from audit.utility.chart import write_chart
from audit.utility.cross_reading import read_across
from audit.utility.drawn_by import drivers_tested, learnt_from_none, refuse_strangers
from audit.utility.driving import read_driving
from audit.utility.examples import write_examples
from audit.utility.inputs import LabelledSet, provenance, read_real, read_synthetic
from audit.utility.plan import Plan, Protocol, Splits, make_plan, read_plan, splits_of
from audit.utility.report import make_report, to_text
from audit.utility.runs import run_all
from contract.cli import Parser, integer
from contract.cores import cores
from contract.errors import Refused, Unavailable, UsageError, run_command
from contract.files import write_whole
from sources.options import add_schema_flag

PROGRAM = "python -m audit.utility"
EXAMPLE = "example: python -m audit.utility build/pseudoreal128 --synthetic build/synthetic --json"
PLAN, TRAINING = "plan.json", "training.jsonl"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    default = Protocol()
    description = "Whether synthetic frames help a classifier of fatigue and distraction, with intervals and tests."
    parser = Parser(prog=PROGRAM, description=description, epilog=EXAMPLE)
    add = parser.add_argument
    add("real", type=Path, metavar="REAL", help="labelled frames with drivers, rendered or recorded")
    add("--synthetic", type=Path, metavar="FOLDER", help="frames to add: a generated dataset, or rendered ones")
    add("--dp", type=Path, metavar="FOLDER", help="frames of a model trained with differential privacy")
    drawn_by = "bundles or checkpoints that drew them: refused where they learnt from a driver that is tested"
    add("--drawn-by", nargs="+", type=Path, default=[], metavar="MODEL", help=drawn_by)
    add("-o", "--output", type=Path, default=Path("build/utility"), metavar="FOLDER", help="(build/utility)")
    add("--plan", type=Path, metavar="FILE", help="a plan that was fixed before (plan.json in the output folder)")
    add("--plan-only", action="store_true", help="write plan.json and training.jsonl, and stop")
    add("--driving", type=Path, metavar="FILE", help="shares and tail of the real frames (the project's own)")
    add("--tasks", nargs="+", default=[], metavar="FIELD", help="class fields (those of fatigue and distraction)")
    for name, text in (
        ("training", "real frames to train on"),
        ("extra", "frames that an arm adds"),
        ("validation", "frames by which the best step is chosen, at least"),
        ("test", "frames that are scored, at least"),
        ("seeds", "runs of each arm"),
        ("size", "pixels of an edge"),
        ("samples", "images that each run sees"),
        ("batch", "images of a step"),
    ):
        add(f"--{name}", type=integer(1, 10_000_000), metavar="N", help=f"{text} ({getattr(default, name)})")
    add("--split-seed", type=integer(0, 2**63 - 1), metavar="N", help="decides who is tested (0)")
    add("--workers", type=integer(1, 1024), default=cores(), metavar="N", help="processes that train (all cores)")
    add_schema_flag(add)
    add("--shuffle-labels", action="store_true", help="a control: train on each other's labels, and expect chance")
    add("--json", action="store_true", help="print utility.json instead of tables")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Plan, train what is missing, write the files, print the report."""
    if not (args.synthetic or args.dp or args.plan_only):
        raise UsageError("no frames to add; give --synthetic FOLDER or --dp FOLDER, or --plan-only")
    plan, real, splits = planned(args)
    if args.plan_only:
        print(f"{args.output / PLAN}: fixed; order what its frames lack: {_order(plan, real, args.output)}")
        return 0
    pools = Pools(
        plan,
        real,
        splits,
        read_synthetic(args.synthetic, real, plan.protocol.size) if args.synthetic else None,
        read_synthetic(args.dp, real, plan.protocol.size, private=True) if args.dp else None,
    )
    folders = {name: path for name, path in (("synthetic", args.synthetic), ("private", args.dp)) if path}
    unseen = _unseen(args.drawn_by, folders, drivers_tested(real, splits))
    write_examples(args.output / "examples.png", pools)
    arms = arms_of(plan.protocol, len(splits.more), args.synthetic is not None, args.dp is not None)
    results = run_all(arms, pools, args.output / "runs", args.shuffle_labels, args.workers)
    added = {name: found for name, found in (("synthetic", pools.synthetic), ("private", pools.private)) if found}
    across = {name: read_across(pools, found, results, args.output / "runs") for name, found in added.items()}
    sources = {"real": _source(args.real, real)}
    for name, found in added.items():
        sources[name] = _source(folders[name], found) | {"tested_drivers_unseen": unseen[name]}
    report = make_report(arms, pools, results, sources, across, args.shuffle_labels)
    name = "control" if args.shuffle_labels else "utility"
    write_whole(args.output / f"{name}.json", json.dumps(report, indent=1, allow_nan=False).encode() + b"\n")
    try:
        write_chart(args.output / f"{name}.png", report)
    except Unavailable as error:
        print(f"audit.utility: {error}", file=sys.stderr)
    print(json.dumps(report, allow_nan=False) if args.json else to_text(report))
    return 0


def _unseen(paths: Sequence[Path], folders: Mapping[str, Path], tested: Sequence[str]) -> dict[str, bool | None]:
    """Whether what drew each folder's frames learnt from no tested driver; None, and a notice, where nobody knows."""
    models = [read_model_lineage(path) for path in paths]
    refuse_strangers(models, list(folders.values()))
    unseen = {name: learnt_from_none(folder, tested, models) for name, folder in folders.items()}
    for name, known in unseen.items():
        if known is None:
            reason = "whether what drew it learnt from tested drivers isn't known"
            fix = "name a model that lists its drivers with --drawn-by"
            print(f"audit.utility: {folders[name]}: {reason}; {fix}", file=sys.stderr)
    return unseen


def planned(args: argparse.Namespace) -> tuple[Plan, LabelledSet, Splits]:
    """The plan that there is, or a new one, written before anything is trained; its frames, its splits."""
    path = args.plan or args.output / PLAN
    if args.plan and not path.is_file():
        raise Refused(f"{path}: no such plan; leave --plan out to make one")
    old = read_plan(path) if path.is_file() else None
    given = {f.name: getattr(args, f.name) for f in fields(Protocol) if getattr(args, f.name) is not None}
    protocol = Protocol.from_dict(replace(old.protocol if old else Protocol(), **given).to_dict())
    driving = read_driving(args.driving) if args.driving or not old else old.driving
    tasks = args.tasks or (old.tasks if old else ())
    if old and (other := _changed(old, protocol, driving != old.driving, tuple(tasks) != old.tasks)):
        raise Refused(f"{path}: another {', '.join(other)} than the plan's; choose another -o for another experiment")
    real = read_real(args.real, tasks, protocol.size, args.schema)
    plan = old or make_plan(real, protocol, driving)
    splits = splits_of(plan, real)
    args.output.mkdir(parents=True, exist_ok=True)
    write_whole(args.output / TRAINING, _records(real, splits))
    if not old:
        write_whole(path, json.dumps(plan.to_dict(), indent=1).encode() + b"\n")
    return plan, real, splits


def _changed(plan: Plan, protocol: Protocol, driving: bool, tasks: bool) -> list[str]:
    differing = [f.name for f in fields(Protocol) if getattr(protocol, f.name) != getattr(plan.protocol, f.name)]
    return differing + ["driving"] * driving + ["tasks"] * tasks


def _records(real: LabelledSet, splits: Splits) -> bytes:
    """The labels of the real training frames, one JSON object a line."""
    conditions = real.frames.schema.decode(real.frames.conditions[splits.training])
    return b"".join(json.dumps(condition).encode() + b"\n" for condition in conditions)


def _order(plan: Plan, real: LabelledSet, output: Path) -> str:
    """The command that generates what the training frames lack, and some frames to set aside."""
    names = sorted({*plan.tasks, *plan.driving.shares})
    cells = math.prod(len(real.frames.schema.field(name).values) for name in names)
    each = -(-(plan.protocol.training + plan.protocol.total + SET_ASIDE) // cells)
    training = output / TRAINING
    return f"python -m runtime.generate BUNDLE --balance {training} --by {','.join(names)} --to {each} -o FOLDER"


def _source(path: Path, found: LabelledSet) -> dict[str, object]:
    known = provenance(path)
    return {"folder": path.name, "sha256": found.frames.fingerprint, "frames": len(found.frames.frames)} | known


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("audit.utility", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
