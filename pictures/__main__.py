"""Draw the contact sheet of a dataset.

python -m pictures build/frames                 # writes build/frames.contact.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from contract.cli import Parser
from contract.errors import run_command
from pictures.contact_sheet import write_contact_sheet


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m pictures",
        description="Draw the contact sheet of a dataset.",
        epilog="example:\n  python -m pictures build/frames",
    )
    parser.add_argument("folder", metavar="DATASET", help="folder with dataset.json, metadata.jsonl and frames")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    print(write_contact_sheet(args.folder))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("pictures", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
