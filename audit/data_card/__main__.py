"""Write the data card of a finished dataset: README.md and croissant.json into its folder.

    python -m audit.data_card build/frames --license CC-BY-4.0 --purpose "training drowsiness detectors"

Figures are measured on the files themselves; what people have to state (licence, purpose, retention, contact) is taken
from the flags, and the card says so where nobody did.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from audit.data_card.card import Stated, measure
from audit.data_card.croissant import croissant
from audit.data_card.readme import readme, summary
from contract.cli import Parser
from contract.dataset import read_dataset
from contract.errors import run_command
from contract.files import write_whole
from contract.frame_record import columns
from runtime.outputs.claim import CARDS

PROGRAM = "python -m audit.data_card"
README, CROISSANT = CARDS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    description = "Write the data card of a finished dataset."
    epilog = f'example:\n  {PROGRAM} build/frames --license CC-BY-4.0 --purpose "training drowsiness detectors"'
    parser = Parser(prog=PROGRAM, description=description, epilog=epilog)
    add = parser.add_argument
    add("dataset", type=Path, metavar="DATASET", help="folder that runtime.generate wrote")
    add("--license", type=_spdx, metavar="SPDX", help="identifier of the licence, for example CC-BY-4.0")
    add("--purpose", metavar="TEXT", help="what the frames were made for")
    add("--retention", metavar="TEXT", help="how long they are kept, and who deletes them")
    add("--contact", metavar="TEXT", help="whom to write to")
    add("--json", action="store_true", help="print what the card says as one JSON object")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    dataset = read_dataset(args.dataset)
    card = measure(dataset, Stated(args.license, args.purpose, args.retention, args.contact))
    found = [column for column in columns(dataset.description.schema) if column.name != "file_name"]
    metadata = croissant(dataset, card, found, summary(card))
    write_whole(args.dataset / CROISSANT, json.dumps(metadata, indent=1, allow_nan=False).encode() + b"\n")
    write_whole(args.dataset / README, readme(card, found).encode())
    print(json.dumps(card, allow_nan=False) if args.json else f"{args.dataset / README}, {args.dataset / CROISSANT}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("audit.data_card", lambda: run(parse_args(argv)))


def _spdx(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.+-]{1,64}", text):
        raise argparse.ArgumentTypeError(f"{text[:40]}: expected an SPDX identifier such as CC-BY-4.0")
    return text


if __name__ == "__main__":
    raise SystemExit(main())
