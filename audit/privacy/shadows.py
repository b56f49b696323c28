"""Train shadow models: networks like the audited one, each on a random half of all drivers.

    python -m audit.privacy.shadows teacher.pt --members build/train --non-members build/held-out -o build/shadows
    python -m audit.privacy teacher.pt --members build/train --non-members build/held-out --shadows build/shadows

The same command continues where it stopped. Members, non-members, limit and seed are those of the audit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from audit.privacy.calibration import FEWEST_SHADOWS
from audit.privacy.evidence import read_evidence
from audit.privacy.options import add_evidence_flags
from audit.privacy.shadow_models import PROGRAM, train_shadows
from contract.cli import Parser, integer
from contract.errors import run_command

EXAMPLE = f"example: {PROGRAM} teacher.pt --members build/train --non-members build/held-out --count 8"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog=PROGRAM, description="Train shadow models for calibrated attacks.", epilog=EXAMPLE)
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="whose network the shadows have")
    add_evidence_flags(add)
    add("--count", type=integer(2 * FEWEST_SHADOWS, 1000), default=8, metavar="K", help="shadow models (8)")
    add("--steps", type=integer(1, 10**7), default=5000, metavar="N", help="batches of each (5000)")
    add("-o", "--output", type=Path, default=Path("build/shadows"), metavar="FOLDER", help="(build/shadows)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    evidence = read_evidence(args.members, args.non_members, args.schema, args.limit, args.seed)
    train_shadows(args.checkpoint, evidence, args.output, args.count, args.steps, args.seed, args.device)
    print(f"{args.output}: {args.count} shadow models")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("audit.privacy.shadows", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
