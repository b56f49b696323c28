"""Train the edge network on labelled frames.

    python -m sources.render build/cabin128 -n 20224
    python -m training.train build/cabin128 -o build/run --samples 1000000

The run's folder holds `checkpoint.pt` (averaged weights, ready to export), `log.jsonl`, sample grids, and `state.pt`
with which the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from contract.cli import Parser, integer, number
from contract.errors import Refused, UsageError, run_command
from contract.files import write_whole
from contract.limits import MAX_SHIFT
from models.checkpoint import read_checkpoint, write_checkpoint
from models.edge import ACTIVATIONS, NORMALISATIONS
from sources.base import LabelledFrames
from sources.drivers import read_keys, without_drivers
from sources.imagefolder import read_source
from training.denoiser_objective import DenoiserObjective, DenoiserRecipe
from training.dp import add_privacy_flags, run_privately
from training.image_recipe import add_image_flags, read_critic
from training.options import add_run_flags, check_device, report_unseen, run_settings
from training.run import STATE, Run, claim_folder
from training.samples import sample_grid

CHECKPOINT, ABOUT = "checkpoint.pt", "run.json"
"""What is exported, and the command, the network's size and the machine."""

OWN = r"checkpoint\.pt|run\.json|samples-\d+\.png"
NETWORK = ("patch", "blocks", "normalisation", "activation", "warmup", "cooldown")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    default = DenoiserRecipe()
    parser = Parser(
        prog="python -m training.train",
        description="Train the edge network on labelled frames.",
        epilog="example: python -m training.train build/cabin128 -o build/run --samples 1000000",
    )
    add_run_flags(parser, default, Path("build/run"))
    add = parser.add_argument
    add("--samples", type=integer(1, 10**10), default=default.samples, help="images seen in all (1000000)")
    add("--warmup", type=integer(0, 10**9), default=default.warmup, help="images of rising learning rate (20000)")
    add(
        "--cooldown", type=number(0, 1), default=default.cooldown, help="last share of the run, in which it falls (0.3)"
    )
    add("--widths", type=int, nargs="+", default=list(default.widths), help="channels, finest first")
    add("--patch", type=int, default=default.patch, help="edge of the stem's patches (4)")
    add("--blocks", type=int, default=default.blocks, help="residual blocks of each resolution (1)")
    add("--normalisation", choices=NORMALISATIONS, default=default.normalisation, help="(group)")
    add("--activation", choices=tuple(ACTIVATIONS), default=default.activation, help="(relu)")
    shift_help = f"steps moved towards noise where nobody says how far (as --init-from, or {default.shift:g})"
    add("--shift", type=number(1, MAX_SHIFT), metavar="S", help=shift_help)
    add_image_flags(parser)
    add("--init-from", type=Path, metavar="CKPT", help="begin with this checkpoint's EMA weights")
    add("--exclude-drivers", type=Path, metavar="FILE", help="keys of drivers to leave out, one a line")
    add_privacy_flags(parser)
    add("--save-every", type=integer(1, 10**10), default=50_000, help="images between two saves (50000)")
    args = parser.parse_args(argv)
    args.command = shlex.join(["python", "-m", "training.train", *(sys.argv[1:] if argv is None else argv)])
    return args


def run(args: argparse.Namespace) -> int:
    if args.dp_epsilon is not None:
        return _run_privately(args)
    critic, schema, weights = read_critic(args)
    start = read_checkpoint(args.init_from) if args.init_from else None
    chosen = run_settings(args) | weights | {name: getattr(args, name) for name in NETWORK}
    if start:
        chosen |= {"init_from": start.sha256, "shift": start.sampler.shift}
    if args.shift:
        chosen["shift"] = args.shift
    recipe = DenoiserRecipe(samples=args.samples, widths=tuple(args.widths), **chosen)
    device, source = check_device(args.device), _source(args)
    report_unseen(source, args.data)
    if schema not in (None, source.schema):
        raise Refused(f"{args.critic}: reads another schema than {args.data} is labelled with")
    try:
        recipe.network(source)
    except Refused as error:
        raise UsageError(str(error)) from error
    objective = DenoiserObjective(recipe, source, device, critic, start)
    if args.compile:
        objective.network.compile()
    training = Run(objective, recipe, {"data": source.fingerprint})
    claim_folder(args.output, OWN)
    if (args.output / STATE).is_file():
        training.resume(args.output / STATE)
        print(f"{args.output}: going on after {training.seen} of {recipe.samples} images")
    about: dict[str, Any] = {"command": args.command, "parameters": sum(w.numel() for w in training.weights.values())}
    about |= {"machine": platform.machine(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    write_whole(args.output / ABOUT, json.dumps(about, indent=2).encode() + b"\n")

    def publish() -> None:
        checkpoint = objective.checkpoint(training)
        write_checkpoint(args.output / CHECKPOINT, checkpoint)
        sample_grid(checkpoint, args.output / f"samples-{training.seen:09d}.png", device=device)

    training.train(args.output, args.save_every, publish)
    written = args.output / CHECKPOINT
    print(f"{written}: {training.seen} images; export it with python -m export {written}")
    return 0


def _source(args: argparse.Namespace) -> LabelledFrames:
    """The frames to train on, without the drivers that are excluded."""
    source = read_source(args.data, args.schema)
    return without_drivers(source, read_keys(args.exclude_drivers)) if args.exclude_drivers else source


def _run_privately(args: argparse.Namespace) -> int:
    written = args.output / CHECKPOINT
    if written.exists():
        raise Refused(f"{written}: exists, and another one would spend epsilon again; give another folder with -o")
    start = read_checkpoint(args.init_from) if args.init_from else None
    new = not args.output.exists()
    claim_folder(args.output, OWN)  # before any epsilon is spent: a result that can't be written is paid for, too
    try:
        checkpoint = run_privately(args, _source(args), start, check_device(args.device))
    except BaseException:
        if new:
            args.output.rmdir()
        raise
    write_checkpoint(written, checkpoint)
    write_whole(args.output / ABOUT, json.dumps({"command": args.command}, indent=2).encode() + b"\n")
    spent = checkpoint.lineage
    print(f"{written}: epsilon {spent['epsilon']:.4g} at delta {spent['delta']:g} for each {spent['unit']}")
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command("training.train", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
