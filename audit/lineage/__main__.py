"""Which checkpoints, bundles and datasets does a driver's request for deletion touch?

    python -m audit.lineage --driver KEY checkpoints build
    python -m audit.lineage --driver KEY build --json

The key is the one in the training data: the `driver` column of an imagefolder, or the driver's number in shards. A
dataset is found through its checkpoint or bundle, so name the folders that hold those as well. What was trained on is
trained again with `python -m training.train --exclude-drivers FILE`, and everything after it made anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from audit.lineage.descent import find_artefacts
from contract.cli import Parser
from contract.errors import run_command

PROGRAM = "python -m audit.lineage"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    example = f"example: {PROGRAM} --driver KEY checkpoints build"
    parser = Parser(prog=PROGRAM, description="Find what was trained on a driver's frames.", epilog=example)
    add = parser.add_argument
    add("paths", type=Path, nargs="+", metavar="PATH", help="checkpoints, or folders that hold any artefacts")
    add("--driver", required=True, metavar="KEY", help="the driver's key in the training data")
    add("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    found = find_artefacts(args.paths, args.driver)
    if args.json:
        print(json.dumps({"artefacts": [asdict(each) for each in found]}))
    else:
        rows = [(each.touched, each.kind, each.path, each.reason) for each in found]
        print(tabulate(rows, ("driver", "artefact", "path", ""), "plain", disable_numparse=True))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("audit.lineage", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
