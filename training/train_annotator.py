"""Train the network that reads labels back from frames, and attach it to checkpoints.

    python -m sources.render build/heldout128 -n 2048 --domain held-out --seed 1
    python -m training.train_annotator build/cabin128 --held-out build/heldout128 -o build/annotator --into CKPT.pt

One half of the held-out frames (other people) calibrates its confidence, the other half measures it. The folder
holds `annotator.pt`, `log.jsonl`, and `state.pt` with which the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from contract.cli import Parser, integer
from contract.conditions import Schema
from contract.errors import Refused, run_command
from models.annotator import TrainedAnnotator
from models.checkpoint import is_annotator, read_annotator, read_checkpoint, write_annotator, write_checkpoint
from sources.drivers import driver_keys, drivers_of
from sources.imagefolder import read_source
from sources.shards import domain_of
from training.annotator_objective import AnnotatorObjective, AnnotatorRecipe
from training.lineage import annotator_lineage, budget_after
from training.options import add_run_flags, check_device, report_unseen, run_settings
from training.run import STATE, Run, claim_folder

RESULT = "annotator.pt"
SAVE_EVERY = 40_960
"""Images between two saves of the state."""


def attach_annotator(annotator: TrainedAnnotator, schema: Schema, path: Path) -> None:
    """Write a checkpoint again with this annotator; Refused where its schema is another.

    An epsilon of the checkpoint stays only where the annotator learnt from the public frames that it began with.
    """
    checkpoint = read_checkpoint(path)
    if checkpoint.schema != schema:
        raise Refused(f"{path}: its schema {checkpoint.schema.name!r} isn't the one that the annotator reads")
    carried, before = annotator_lineage(annotator), checkpoint.lineage
    lineage = {**before, **budget_after(before, carried["data"]), "annotator": carried}
    write_checkpoint(path, replace(checkpoint, annotator=annotator, lineage=lineage))


def read_start(path: Path) -> tuple[TrainedAnnotator, Schema, str]:
    """The annotator that a file is or carries, its schema and the file's sha256; Refused where there is none."""
    if is_annotator(path):
        return read_annotator(path)
    checkpoint = read_checkpoint(path)
    if not checkpoint.annotator:
        raise Refused(f"{path}: carries no annotator; leave --init-from out to begin anew")
    return checkpoint.annotator, checkpoint.schema, checkpoint.sha256


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    default = AnnotatorRecipe()
    parser = Parser(
        prog="python -m training.train_annotator",
        description="Train the network that reads labels back from frames.",
        epilog="example: python -m training.train_annotator build/cabin128 --held-out build/heldout128"
        " --into build/run/checkpoint.pt",
    )
    add_run_flags(parser, default, Path("build/annotator"))
    add = parser.add_argument
    add("--held-out", type=Path, required=True, help="frames of other people, of the same kind")
    add("--into", type=Path, nargs="+", default=[], metavar="CKPT", help="checkpoints to attach it to")
    add("--samples", type=integer(1, 10**10), default=default.samples, help="images seen in all (600000)")
    add("--widths", type=int, nargs="+", default=list(default.widths), help="channels, finest first")
    add("--init-from", type=Path, metavar="FILE", help="begin with this annotator.pt, or what a checkpoint carries")
    add("--json", action="store_true", help="report for machines")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    for path in args.into:
        read_checkpoint(path)  # refused before an hour of training, not after
    start, schema, begun = read_start(args.init_from) if args.init_from else (None, None, None)
    device, held_out = check_device(args.device), read_source(args.held_out, args.schema, partial=True)
    if schema not in (None, held_out.schema):
        raise Refused(f"{args.init_from}: its annotator reads another schema than {args.held_out} is labelled with")
    source = read_source(args.data, args.schema, partial=True)
    report_unseen(source, args.data)
    if held_out.schema != source.schema or held_out.image != source.image:
        raise Refused(f"{args.held_out}: frames of another schema or size than those of {args.data}")
    if held_out.fingerprint == source.fingerprint:
        raise Refused(f"{args.held_out}: the very frames of {args.data}; figures and confidence need other people's")
    if len(np.unique(drivers_of(held_out))) < 2:
        raise Refused(f"{args.held_out}: one frame; expected more, since one half calibrates and the other measures")
    named = bool(source.driver_names and held_out.driver_names)
    if named or (domain_of(args.data) and domain_of(args.held_out)):  # other numbers mean nothing outside their folder
        shared = set(driver_keys(source) or ()) & set(driver_keys(held_out) or ())
        if shared:
            raise Refused(f"{args.held_out}: {len(shared)} drivers of {args.data}; expected frames of other people")
    recipe = AnnotatorRecipe(
        samples=args.samples,
        widths=tuple(args.widths),
        begun=begun,
        **run_settings(args),
    )
    objective = AnnotatorObjective(recipe, source, device, start)
    if args.compile:
        objective.network.body.compile()
    training = Run(objective, recipe, {"data": source.fingerprint})
    claim_folder(args.output, RESULT)
    if (args.output / STATE).exists():
        training.resume(args.output / STATE)
    training.train(args.output, SAVE_EVERY)
    annotator = objective.finished(training, held_out)
    write_annotator(args.output / RESULT, annotator, source.schema)
    for path in args.into:
        attach_annotator(annotator, source.schema, path)
    figures = annotator.held_out
    print(json.dumps(figures) if args.json else describe(figures, args.output / RESULT))
    return 0


def describe(figures: Mapping[str, Any], path: Path) -> str:
    """The figures of a trained annotator as lines of text."""
    lines = [f"{path}: on {figures['frames']} held-out frames"]
    lines += [f"  {name:18s} {_shown(share, '.1%')} right" for name, share in figures["class_accuracy"].items()]
    lines += [f"  {name:18s} off by {_shown(error, '.3g')}" for name, error in figures["mae"].items()]
    return "\n".join(lines)


def _shown(value: float | None, form: str) -> str:
    return "(never shown)" if value is None else format(value, form)


def main(argv: list[str] | None = None) -> int:
    return run_command("training.train_annotator", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
