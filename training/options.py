"""Flags that every training command has.

parser = Parser(prog="python -m training.train", ...)
add_run_flags(parser, Recipe(), Path("build/run"))
recipe = Recipe(**run_settings(args))
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contract.cli import integer, number
from contract.errors import Unavailable
from sources.base import LabelledFrames
from sources.options import add_schema_flag
from training.run import Recipe


def add_run_flags(parser: argparse.ArgumentParser, default: Recipe, output: Path) -> None:
    """The data, the folder of the run, and what every recipe has but the number of samples."""
    parser.add_argument("data", type=Path, help="labelled frames: a folder of shards, or of images with their labels")
    parser.add_argument("-o", "--output", type=Path, default=output, help=f"folder of the run ({output})")
    parser.add_argument("--batch", type=integer(1, 65_536), default=default.batch, help=f"({default.batch})")
    parser.add_argument("--lr", type=number(1e-8, 1.0), default=default.lr, help=f"peak learning rate ({default.lr:g})")
    add_schema_flag(parser.add_argument)
    parser.add_argument("--seed", type=integer(0, 2**63 - 1), default=default.seed, help=f"({default.seed})")
    parser.add_argument(
        "--compile", action="store_true", help="compile the network with torch.compile: a minute's wait"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")


def run_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of a Recipe that `add_run_flags` sets."""
    return {"batch": args.batch, "lr": args.lr, "seed": args.seed}


def report_unseen(source: LabelledFrames, data: Path) -> None:
    """Say on stderr which classes no frame shows, and which numbers never change: nothing can be learned of them."""
    unseen = "; ".join(f"{name} {', '.join(values)}" for name, values in source.unseen().items())
    if unseen:
        print(f"{data}: no frame shows {unseen}; `python -m sources.inspect {data}` says more", file=sys.stderr)
    for place, field in enumerate(source.schema.fields):
        shown = source.conditions[~source.hidden[:, place], field.offset]
        if not field.is_class and len(shown) > 1 and np.ptp(shown) == 0.0:
            value = field.decode(shown[:1])
            print(
                f"{data}: {field.name} is {value:g} wherever it is known; nothing can be learned of it", file=sys.stderr
            )


def check_device(name: str) -> str:
    """The device, or Unavailable where this machine or this torch has none of that name."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise Unavailable(f"--device {name}: {str(error).splitlines()[0]}; expected cpu, or cuda with a GPU") from error
    return name
