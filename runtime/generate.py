"""Labelled frames from a bundle, as a dataset on disk.

    python -m runtime.generate bundle -o frames -n 64 --set lighting=night --seed 7

The same command on its own unfinished output goes on where it stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]

from contract.dataset import Description, record
from contract.errors import run_command
from runtime.arguments import Parser, integer
from runtime.backend import AUTO, BACKENDS
from runtime.contact_sheet import contact_path, write_contact_sheet
from runtime.folder import FolderOutput, check_channels
from runtime.generator import MAX_BATCH, Generator
from runtime.noise import SEEDS
from runtime.plan import MAX_COUNT, Plan

FORMATS: dict[str, Callable[[str, Description], FolderOutput]] = {"folder": FolderOutput}
"""How a dataset can be written."""

DEFAULT_COUNT = 64

EXAMPLES = """examples:
  python -m runtime.generate bundle -o frames -n 64
  python -m runtime.generate bundle -o night -n 1000 --set lighting=night accessory=sunglasses --seed 7
  python -m runtime.generate bundle -o grid --grid fatigue_level,distraction_type,lighting,accessory -n 10"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m runtime.generate", description="Draw labelled frames from a bundle.", epilog=EXAMPLES
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that the exporter wrote")
    parser.add_argument("-o", "--output", default="frames", metavar="DIR", help="dataset to write (frames)")
    parser.add_argument(
        "-n",
        "--count",
        type=integer(1, MAX_COUNT),
        metavar="N",
        help=f"frames in all ({DEFAULT_COUNT}), or with --grid frames for each of its cells (1)",
    )
    parser.add_argument(
        "--set",
        dest="pairs",
        action="extend",
        nargs="+",
        default=[],
        metavar="FIELD=VALUE",
        help="what every frame has in common; the other fields are drawn from the schema's prior",
    )
    parser.add_argument(
        "--grid", type=_names, default=(), metavar="FIELD,FIELD", help="every combination of these fields"
    )
    parser.add_argument("--seed", type=integer(0, SEEDS - 1), default=0, metavar="S", help="0 to 2^64 - 1 (0)")
    parser.add_argument("--batch", type=integer(1, MAX_BATCH), metavar="B", help="frames a call of the engine")
    parser.add_argument("--backend", choices=(AUTO, *BACKENDS), default=AUTO, help="inference engine (auto)")
    parser.add_argument("--precision", default=AUTO, metavar="P", help="fp32, fp16, int8: which step graph (auto)")
    parser.add_argument("--format", choices=tuple(FORMATS), default="folder", help="layout of the dataset (folder)")
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    started = time.perf_counter()
    with Generator.open(args.bundle, args.backend, args.precision, args.batch) as generator:
        check_channels(generator.manifest.image.channels)
        each = args.count or (1 if args.grid else DEFAULT_COUNT)
        plan = Plan(generator.schema, generator.schema.parse(args.pairs), args.grid, each)
        with FORMATS[args.format](args.output, _describe(generator, plan, args.seed)) as output:
            before = output.written
            if args.backend == AUTO:
                _say_choice(generator)
            _fill(output, generator, plan, args.seed)
        new = plan.count - before
        sheet = write_contact_sheet(args.output) if new or not contact_path(args.output).exists() else None
        seconds = time.perf_counter() - started
        _report(args, generator, plan.count, new, seconds, str(sheet or contact_path(args.output)))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("runtime.generate", lambda: run(parse_args(argv)))


def _fill(output: FolderOutput, generator: Generator, plan: Plan, seed: int) -> None:
    """Generate what the output doesn't hold yet, a batch at a time."""
    index = output.written
    conditions = plan.conditions(start=index)
    with tqdm(total=plan.count, initial=index, unit="frame", disable=None) as progress:
        while wanted := list(itertools.islice(conditions, generator.batch)):
            batch = generator.complete(wanted, seed, start=index)
            frames = generator.generate(generator.schema.encode(batch), seed, start=index)
            output.add(frames, [record(index + row, seed, condition) for row, condition in enumerate(batch)])
            index += len(batch)
            progress.update(len(batch))


def _describe(generator: Generator, plan: Plan, seed: int) -> Description:
    source = generator.manifest.source
    lineage = source.get("lineage") or {}
    return Description(
        bundle=generator.manifest.digest,
        checkpoint=source.get("checkpoint"),
        schema=generator.schema,
        seed=seed,
        count=plan.count,
        plan=plan.to_dict(),
        precision=generator.choice.precision,
        epsilon=lineage.get("epsilon"),
        delta=lineage.get("delta"),
    )


def _say_choice(generator: Generator) -> None:
    choice = generator.choice
    why = f" ({choice.reason})" if choice.reason else ""
    print(f"runtime.generate: auto: {choice.backend} {choice.precision}{why}", file=sys.stderr)


def _report(args: argparse.Namespace, generator: Generator, count: int, new: int, seconds: float, sheet: str) -> None:
    figures: dict[str, Any] = {
        "output": args.output,
        "frames": count,
        "new": new,
        "seconds": round(seconds, 6),
        "engine_seconds": round(generator.engine_seconds, 6),
        "frames_per_second": round(new / seconds, 3),
        "backend": generator.choice.backend,
        "precision": generator.choice.precision,
        "batch": generator.batch,
        "contact_sheet": sheet,
    }
    if args.json:
        print(json.dumps(figures))
    elif new:
        rate = figures["frames_per_second"]
        print(f"{Path(args.output)}: {count} frames, {new} of them new, {rate:.1f} a second; look at {sheet}")
    else:
        print(f"{Path(args.output)}: complete already, {count} frames; look at {sheet}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


if __name__ == "__main__":
    raise SystemExit(main())
