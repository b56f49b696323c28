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
from typing import Any

from contract.bundle import read_manifest
from contract.cli import Parser
from contract.errors import EdgeError, UsageError, run_command
from contract.plan import Plan
from runtime.clips import FramePlan
from runtime.dataset_run import RunResult, describe, write_dataset, write_derived
from runtime.generator import Generator
from runtime.options import (
    DEFAULT_OUTPUT,
    add_options,
    check_images,
    check_options,
    make_plan,
    make_settings,
    open_from,
    open_signer,
)
from runtime.outputs.labels import check_labels
from runtime.outputs.raw_stream import PIXEL_FORMATS, Outcome, check_video, descriptor, opened, stream_frames
from runtime.outputs.writer import open_writer
from runtime.preview import preview

PROGRAM = "runtime.generate"
STDOUT = 1

SHOWN_CELLS = 20
"""Of a dry run."""

RAW_ONLY, DATASET_ONLY = ("labels",), ("output", "format", "codec", "sign", "labels_as", "dry_run", "clip")
"""Options that go with --raw, and those that go without."""

ENDS = {"count": "all frames written", "reader": "the reader went away", "stopped": "interrupted"}
"""How a raw stream can end."""

EXAMPLES = """examples:
  python -m runtime.generate bundle -o frames -n 64
  python -m runtime.generate bundle -o night -n 1000 --set lighting=night accessory=sunglasses --seed 7
  python -m runtime.generate bundle -o grid --grid fatigue_level,distraction_type,lighting,accessory -n 10
  python -m runtime.generate bundle -o tail --plan plan.yaml --dry-run
  python -m runtime.generate bundle -o rest --balance real/metadata.jsonl --by fatigue_level,lighting
  python -m runtime.generate bundle -o s3://bucket/night -n 100000 --set lighting=night --format webdataset
  python -m runtime.generate bundle -o sure -n 1000 --reject-below 0.5
  python -m runtime.generate bundle -o clips -n 20 --clip 60 --fps 30 --set fatigue_level=severe --video
  python -m runtime.generate bundle --raw - --fps 30 --labels labels.jsonl |
      ffmpeg -f rawvideo -pix_fmt rgb24 -s 128x128 -r 30 -i - drivers.mkv"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog=f"python -m {PROGRAM}", description="Generate labelled frames from a bundle.", epilog=EXAMPLES)
    add_options(parser)
    add = parser.add_argument
    add("--raw", metavar="-|FILE", help="concatenated uint8 frames to standard output or a named pipe")
    labels_help = "with --raw: a line of JSON for each frame, written before it"
    add("--labels", type=descriptor, metavar="FILE|FD", help=labels_help)
    add("--dry-run", action="store_true", help="say what the plan comes to, by drawing a few frames; write nothing")
    add("--json", action="store_true", help="print a report as one JSON object (with --raw - to standard error)")
    return _checked(parser.parse_args(argv))


def run(args: argparse.Namespace) -> int:
    manifest = read_manifest(args.bundle)
    plan = make_plan(args, manifest.schema, *([1] if args.raw else []))
    if not args.raw:
        check_images(args, manifest.image)
    with open_from(args, manifest, PROGRAM) as generator:
        check_labels(args.labels_as, bool(generator.annotator and generator.annotator.landmarks))
        return (_dry_run if args.dry_run else _run_raw if args.raw else _run_dataset)(args, generator, plan)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROGRAM, lambda: run(parse_args(argv)))


def _run_dataset(args: argparse.Namespace, generator: Generator, plan: FramePlan) -> int:
    started = time.perf_counter()
    signer, description = open_signer(args), describe(generator, plan, make_settings(args))
    result = write_dataset(generator, plan, open_writer(args.output, description), args.output, signer)
    write_derived(args.output, plan, args.labels_as, args.video, signer)
    _report(args, generator, result, time.perf_counter() - started)
    return 0


def _dry_run(args: argparse.Namespace, generator: Generator, plan: FramePlan) -> int:
    found = preview(generator, plan, make_settings(args))
    if args.json:
        print(json.dumps(found._asdict()))
        return 0
    for cell in found.cells[:SHOWN_CELLS]:
        of = " ".join(f"{name}={value}" for name, value in cell["set"].items())
        grid = f" every {' x '.join(cell['grid'])}, {cell['each']} each" if cell["grid"] else ""
        print(f"{cell['frames']:>10} frames  {of}{grid}")
    if len(found.cells) > SHOWN_CELLS:
        print(f"       ... {len(found.cells) - SHOWN_CELLS} cells more")
    minutes, megabytes = found.seconds / 60, found.bytes / 1e6
    estimate = f"about {megabytes:.1f} MB and {minutes:.1f} minutes, from {found.measured} frames drawn now"
    print(f"{len(found.cells)} cells, {found.frames} frames, {estimate}; nothing was written")
    return 0


def _run_raw(args: argparse.Namespace, generator: Generator, plan: FramePlan) -> int:
    """Stream frames until there are no more, or nobody takes them."""
    assert isinstance(plan, Plan), "--clip goes without --raw"
    conditions = plan.conditions(args.seed) if args.count else plan.cycle(args.seed)
    with opened(STDOUT if args.raw == "-" else args.raw) as video, _labels(args.labels) as labels:
        _print_layout(generator)
        batches = generator.stream(conditions, args.seed, reject_below=args.reject_below)
        outcome = stream_frames(batches, video, labels, args.seed, args.fps)
    _report_raw(args, generator, outcome)
    if args.count and outcome.ended != "count":
        raise EdgeError(f"stopped after {outcome.frames} of {plan.count} frames: {ENDS[outcome.ended]}")
    return 0


def _report(args: argparse.Namespace, generator: Generator, result: RunResult, seconds: float) -> None:
    description, new, output = result.description, result.new, args.output
    disagreeing = description.disagreeing
    figures: dict[str, Any] = {
        "output": args.output,
        "frames": description.count,
        "new": new,
        "seconds": round(seconds, 6),
        "frames_per_second": round(new / seconds, 3),
        "contact_sheet": str(result.contact_sheet) if result.contact_sheet else None,
        "agreeing": None if disagreeing is None else description.count - disagreeing,
        "rejected": description.rejected,
    }
    figures |= _engine_figures(args, generator)
    agreement = _agreement(figures)
    look = f"; look at {result.contact_sheet}" if result.contact_sheet else ""
    if args.json:
        print(json.dumps(figures))
    elif new:
        rate = f"{new} of them new, {figures['frames_per_second']:.1f} a second"
        print(f"{output}: {description.count} frames, {rate}{agreement}{look}")
    else:
        print(f"{output}: complete already, {description.count} frames{agreement}{look}")


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
    for name in RAW_ONLY if args.raw is None else DATASET_ONLY:
        if getattr(args, name):
            raise UsageError(f"--{name.replace('_', '-')}: goes {'without' if args.raw else 'with'} --raw")
    if args.fps and args.raw is None and not args.clip:
        raise UsageError("--fps: goes with --raw or --clip")
    if args.raw is not None and args.raw == args.labels:
        raise UsageError(f"--labels {args.labels}: the frames go there; give another file")
    if args.raw == "-":
        if args.labels == STDOUT:
            raise UsageError("--labels 1: standard output takes the frames; give a file or another descriptor")
        check_video(STDOUT)
    args.output = args.output or DEFAULT_OUTPUT
    return args


if __name__ == "__main__":
    raise SystemExit(main())
