"""Labelled frames from a bundle, as a dataset on disk or as a raw video stream.

    python -m runtime.generate bundle -o frames -n 64 --set lighting=night --seed 7
    python -m runtime.generate bundle --raw - --fps 30 --labels labels.jsonl | ffplay -f rawvideo ...

Where the bundle has an annotator, every record says what its frame shows (`measured`) and whether that agrees with
its condition (`agrees`); `--reject-below` redraws frames whose classes are less likely than P to be the requested ones.

The same command on its own unfinished dataset resumes it. A raw stream without `-n` has no end: when its reader goes
away, or on Ctrl-C, it stops after a whole frame with exit status 0; with `-n`, if frames are still missing, with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from contract.bundle import read_manifest
from contract.cli import Parser
from contract.errors import EdgeError, UsageError, run_command
from contract.plan import Plan
from runtime.dataset_run import RunResult, describe, write_dataset
from runtime.generator import Generator
from runtime.options import (
    DEFAULT_FORMAT,
    DEFAULT_OUTPUT,
    add_options,
    check_options,
    make_plan,
    number,
    open_from,
)
from runtime.outputs.raw_stream import PIXEL_FORMATS, Outcome, check_video, cycle, descriptor, opened, stream_frames
from runtime.outputs.writer import FORMATS, check_channels

PROGRAM = "runtime.generate"
STDOUT = 1
MAX_FPS = 10_000.0

ENDS = {"count": "all frames written", "reader": "the reader went away", "stopped": "interrupted"}
"""How a raw stream can end."""

EXAMPLES = """examples:
  python -m runtime.generate bundle -o frames -n 64
  python -m runtime.generate bundle -o night -n 1000 --set lighting=night accessory=sunglasses --seed 7
  python -m runtime.generate bundle -o grid --grid fatigue_level,distraction_type,lighting,accessory -n 10
  python -m runtime.generate bundle -o sure -n 1000 --reject-below 0.5
  python -m runtime.generate bundle --raw - --fps 30 --labels labels.jsonl |
      ffmpeg -f rawvideo -pix_fmt rgb24 -s 64x64 -r 30 -i - drivers.mkv"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog=f"python -m {PROGRAM}", description="Generate labelled frames from a bundle.", epilog=EXAMPLES)
    add_options(parser)
    add = parser.add_argument
    add("--raw", metavar="-|FILE", help="concatenated uint8 frames to standard output or a named pipe")
    rate = number(0, MAX_FPS, f"frames a second, above 0 and up to {MAX_FPS:g}")
    add("--fps", type=rate, metavar="F", help="with --raw: a steady rate in frames a second (as fast as possible)")
    labels_help = "with --raw: a line of JSON for each frame, written before it"
    add("--labels", type=descriptor, metavar="FILE|FD", help=labels_help)
    add("--json", action="store_true", help="print a report as one JSON object (with --raw - to standard error)")
    return _checked(parser.parse_args(argv))


def run(args: argparse.Namespace) -> int:
    manifest = read_manifest(args.bundle)
    plan = make_plan(args, manifest.schema, *([1] if args.raw else []))
    if not args.raw:
        check_channels(manifest.image.channels)
    with open_from(args, manifest, PROGRAM) as generator:
        return (_run_raw if args.raw else _run_dataset)(args, generator, plan)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROGRAM, lambda: run(parse_args(argv)))


def _run_dataset(args: argparse.Namespace, generator: Generator, plan: Plan) -> int:
    started = time.perf_counter()
    description = describe(generator, plan, args.seed, args.reject_below)
    result = write_dataset(generator, plan, FORMATS[args.format](args.output, description), args.output)
    _report(args, generator, result, time.perf_counter() - started)
    return 0


def _run_raw(args: argparse.Namespace, generator: Generator, plan: Plan) -> int:
    """Stream frames until there are no more, or nobody takes them."""
    conditions = plan.conditions() if args.count else cycle(plan.conditions)
    with opened(STDOUT if args.raw == "-" else args.raw) as video, _labels(args.labels) as labels:
        _print_layout(generator)
        batches = generator.stream(conditions, args.seed, reject_below=args.reject_below)
        outcome = stream_frames(batches, video, labels, args.seed, args.fps)
    _report_raw(args, generator, outcome)
    if args.count and outcome.ended != "count":
        raise EdgeError(f"stopped after {outcome.frames} of {plan.count} frames: {ENDS[outcome.ended]}")
    return 0


def _report(args: argparse.Namespace, generator: Generator, result: RunResult, seconds: float) -> None:
    description, new, output = result.description, result.new, Path(args.output)
    disagreeing = description.disagreeing
    figures: dict[str, Any] = {
        "output": args.output,
        "frames": description.count,
        "new": new,
        "seconds": round(seconds, 6),
        "frames_per_second": round(new / seconds, 3),
        "contact_sheet": str(result.contact_sheet),
        "agreeing": None if disagreeing is None else description.count - disagreeing,
        "rejected": description.rejected,
    }
    figures |= _engine_figures(args, generator)
    agreement = _agreement(figures)
    if args.json:
        print(json.dumps(figures))
    elif new:
        rate = f"{new} of them new, {figures['frames_per_second']:.1f} a second"
        print(f"{output}: {description.count} frames, {rate}{agreement}; look at {result.contact_sheet}")
    else:
        print(f"{output}: complete already, {description.count} frames{agreement}; look at {result.contact_sheet}")


def _engine_figures(args: argparse.Namespace, generator: Generator) -> dict[str, Any]:
    annotator = generator.annotator
    figures = {
        "engine_seconds": round(generator.engine_seconds, 6),
        "backend": generator.choice.backend,
        "precision": generator.choice.precision,
        "batch": generator.batch,
        "annotator": annotator.precision if annotator else None,
        "annotator_seconds": round(annotator.seconds, 6) if annotator else 0.0,
        "reject_below": args.reject_below,
    }
    return figures | generator.details()


def _agreement(figures: dict[str, Any]) -> str:
    """What the annotator found, and nothing where none ran."""
    if figures["agreeing"] is None:
        return ""
    redrawn = "" if figures["rejected"] is None else f", {figures['rejected']} attempts rejected"
    return f"; {figures['agreeing']} of {figures['frames']} agree with their condition{redrawn}"


def _print_layout(generator: Generator) -> None:
    channels, height, width = generator.manifest.image
    pixels = f", pix_fmt {PIXEL_FORMATS[channels]}" if channels in PIXEL_FORMATS else ""
    size = channels * height * width
    print(f"{PROGRAM}: raw frames {width}x{height}{pixels}, {size} bytes each", file=sys.stderr)


def _report_raw(args: argparse.Namespace, generator: Generator, outcome: Outcome) -> None:
    figures = outcome.to_dict() | _engine_figures(args, generator)
    if args.json:
        print(json.dumps(figures), file=sys.stderr if args.raw == "-" else sys.stdout)
        return
    rate = f"{figures['frames_per_second']:.2f} a second"
    line = f"{outcome.frames} frames, {rate}, {ENDS[outcome.ended]}{_agreement(figures)}"
    if outcome.jitter_ms:
        p50, p99 = outcome.jitter_ms
        line += f"; jitter p50 {p50:.2f} ms, p99 {p99:.2f} ms, {outcome.late} late"
    print(f"{PROGRAM}: {line}", file=sys.stderr)


@contextlib.contextmanager
def _labels(target: int | str | None) -> Iterator[int | None]:
    if target is None:
        yield None
        return
    with opened(target) as labels:
        yield labels


def _checked(args: argparse.Namespace) -> argparse.Namespace:
    """UsageError for options that exclude each other; defaults where they don't."""
    check_options(args)
    for name in ("fps", "labels") if args.raw is None else ("output", "format"):
        if getattr(args, name) is not None:
            raise UsageError(f"--{name}: goes {'without' if args.raw else 'with'} --raw")
    if args.raw is not None and args.raw == args.labels:
        raise UsageError(f"--labels {args.labels}: the frames go there; give another file")
    if args.raw == "-":
        if args.labels == STDOUT:
            raise UsageError("--labels 1: standard output takes the frames; give a file or another descriptor")
        check_video(STDOUT)
    args.output, args.format = args.output or DEFAULT_OUTPUT, args.format or DEFAULT_FORMAT
    return args


if __name__ == "__main__":
    raise SystemExit(main())
