"""A dataset on one page, to look at and to hand on.

    python -m audit.report build/frames -o report.html
    python -m audit.report build/frames -o report.html --results benchmarks/results

The page is one file that opens in any browser, on a phone as well, and asks for nothing over the network. It holds a
gallery that can be filtered, counts of every condition, what the records say of fidelity, by person too, the marks that
the files carry, and, where `--results` has them, the figures of other audits and of the benchmarks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from audit.report.page import render
from audit.report.results import read_results
from contract.cli import Parser, integer
from contract.dataset import read_dataset
from contract.errors import UsageError, run_command
from contract.files import write_whole

PROGRAM = "python -m audit.report"
FRAMES = 300
MOST = 5000
"""Frames in a gallery: some 10 MB of 64 x 64 pixels."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    epilog = f"example:\n  {PROGRAM} build/frames -o report.html --results benchmarks/results"
    parser = Parser(prog=PROGRAM, description="Write a dataset onto one HTML page.", epilog=epilog)
    add = parser.add_argument
    add("dataset", type=Path, metavar="DATASET", help="folder that runtime.generate wrote")
    add("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="(report.html)")
    add("--frames", type=integer(1, MOST), default=FRAMES, metavar="N", help=f"frames in the gallery ({FRAMES})")
    add("--results", type=Path, metavar="FOLDER", help="JSON results of audits and benchmarks, shown beside (none)")
    add("--title", metavar="TEXT", help="of the page (the folder's name)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    if args.output.is_dir():
        raise UsageError(f"{args.output}: a folder; name a file with -o, for example {args.output / 'report.html'}")
    results = read_results(args.results) if args.results else []
    page = render(read_dataset(args.dataset), results, args.frames, args.title).encode()
    write_whole(args.output, page)
    print(f"{args.output}: {len(page) / 1e6:.1f} MB; open it in a browser")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("audit.report", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
