"""The flags that every generating command shares: which bundle, which frames, by which engine, in which layout.

parser = Parser(prog="python -m runtime.generate", description=..., epilog=...)
add_options(parser)
args = parser.parse_args(argv)
manifest = read_manifest(args.bundle)
plan = make_plan(args, manifest.schema)               # refuses wrong conditions before an engine opens
with open_from(args, manifest) as generator: ...
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from contract.bundle import ANNOTATORS, Manifest
from contract.cli import Parser, integer
from contract.conditions import Schema
from contract.errors import UsageError
from contract.noise import SEEDS
from contract.plan import MAX_COUNT, Plan
from runtime.annotator import CHOICES, OFF
from runtime.backends.registry import AUTO, BACKENDS
from runtime.generator import MAX_BATCH, Generator
from runtime.outputs.writer import FORMATS
from runtime.rejection_sampling import MAX_ATTEMPTS

DEFAULT_COUNT = 64
DEFAULT_OUTPUT = "frames"
DEFAULT_FORMAT = "folder"


def add_options(parser: Parser) -> None:
    """Add the shared flags."""
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", help="folder that the exporter wrote")
    add("-o", "--output", metavar="DIR", help=f"dataset to write ({DEFAULT_OUTPUT})")
    count_help = f"frames in total ({DEFAULT_COUNT}; with --raw no end), or with --grid frames of each cell (1)"
    add("-n", "--count", type=integer(1, MAX_COUNT), metavar="N", help=count_help)
    set_help = "what all frames have in common; the other fields are drawn from the schema's prior"
    add("--set", dest="pairs", action="extend", nargs="+", default=[], metavar="FIELD=VALUE", help=set_help)
    add("--grid", type=_names, default=(), metavar="FIELD,FIELD", help="every combination of these fields")
    add("--seed", type=integer(0, SEEDS - 1), default=0, metavar="S", help="0 to 2^64 - 1 (0)")
    add("--batch", type=integer(1, MAX_BATCH), metavar="B", help="frames in one call of the engine")
    add("--backend", choices=(AUTO, *BACKENDS), default=AUTO, help="inference engine (auto)")
    add("--precision", default=AUTO, metavar="P", help="fp32, fp16, int8: which step graph (auto)")
    annotator_help = "which annotator reads the frames (auto: int8 for frames drawn in int8, else fp32)"
    add("--annotator", choices=CHOICES, default=AUTO, help=annotator_help)
    reject_help = f"redraw a frame that is less likely to show its classes (0 to 1), {MAX_ATTEMPTS} attempts at most"
    add("--reject-below", type=number(0, 1, "a probability above 0 and below 1", True), metavar="P", help=reject_help)
    add("--state", metavar="DIR", help="where verified.json and caches go (the bundle, and beside it)")
    add("--format", choices=tuple(FORMATS), help=f"layout of the dataset ({DEFAULT_FORMAT})")


def check_options(args: argparse.Namespace) -> None:
    """UsageError for options that exclude each other."""
    if args.reject_below is not None and args.annotator == OFF:
        raise UsageError("--annotator off: --reject-below needs the annotator; leave one of them out")


def make_plan(args: argparse.Namespace, schema: Schema, default: int = DEFAULT_COUNT) -> Plan:
    """The requested conditions; UsageError for fields and values that the schema doesn't have."""
    return Plan(schema, schema.parse(args.pairs), args.grid, args.count or (1 if args.grid else default))


@contextmanager
def open_from(args: argparse.Namespace, manifest: Manifest, program: str) -> Iterator[Generator]:
    """The opened generator; what `auto` chose, and why, goes to standard error."""
    options: dict[str, Any] = {"batch": args.batch, "state": args.state, "annotator": args.annotator}
    with Generator.open(args.bundle, args.backend, args.precision, manifest=manifest, **options) as generator:
        if args.reject_below is not None:
            generator.require_annotator()
        if args.backend == AUTO:
            choice = generator.choice
            why = f" ({choice.reason})" if choice.reason else ""
            print(f"{program}: auto: {choice.backend} {choice.precision}{why}", file=sys.stderr)
        unread = args.annotator == AUTO and generator.annotator is None
        if unread and any(name in manifest.files for name in ANNOTATORS.values()):
            print(f"{program}: auto: no annotator ({generator.unannotated})", file=sys.stderr)
        yield generator


def number(low: float, high: float, expected: str, below_high: bool = False) -> Callable[[str], float]:
    """An argument type: a number above `low` and up to `high`, or below it."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = low
        if not low < value <= high or (below_high and value == high):
            raise argparse.ArgumentTypeError(f"{text[:40]}: expected {expected}")
        return value

    return parse


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)
