"""Insert canaries into a folder of training frames, and remember which of them training was given.

    python -m audit.privacy.insert_canaries build/train -o build/train-canaries --count 200
    python -m training.train build/train-canaries -o build/run
    python -m audit.privacy build/run/checkpoint.pt --canaries build/train-canaries.canaries.npz ...

A checkpoint that was trained with canaries is for audits: the frames are coloured tiles, and no driver's.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from audit.privacy.canaries import FEWEST
from audit.privacy.canary_files import PROGRAM, canary_path, insert
from contract.cli import Parser, integer
from contract.errors import run_command
from contract.noise import SEEDS
from sources.options import add_schema_flag


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    example = f"example: {PROGRAM} build/train -o build/train-canaries --count 200"
    parser = Parser(prog=PROGRAM, description="Insert canaries into training frames.", epilog=example)
    add = parser.add_argument
    add("source", type=Path, metavar="FOLDER", help="training frames")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="the same with canaries, as shards")
    add_schema_flag(add)
    add(
        "--count",
        type=integer(FEWEST, 100_000),
        default=200,
        metavar="N",
        help="canaries, about half of them trained on (200)",
    )
    add("--seed", type=integer(0, SEEDS - 1), default=0, metavar="S")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    canaries = insert(args.source, args.output, args.schema, args.count, args.seed)
    print(f"{args.output}: {canaries.included.sum()} of {args.count} canaries; {canary_path(args.output)} has them all")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("audit.privacy.insert_canaries", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
