"""Labelled frames from a bundle, as a dataset on disk or as a raw video stream.

    python -m runtime.generate bundle -o frames -n 64 --set lighting=night --seed 7
    python -m runtime.generate bundle --raw - --fps 30 --labels labels.jsonl | ffplay -f rawvideo ...

Where the bundle has an annotator, every record says what its frame shows (`measured`) and whether that is what was
asked for (`agrees`); `--reject-below` draws those again whose classes are less likely than P to be what was asked for.

The same command on its own unfinished dataset goes on where it stopped. A raw stream without `-n` has no end:
when its reader goes away, or on Ctrl-C, it stops after a whole frame with exit status 0, and with `-n`, if frames
were still to come, with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from contract.bundle import ANNOTATORS, read_manifest
from contract.cli import Parser, integer
from contract.conditions import Schema
from contract.dataset import Description, read_dataset, record
from contract.errors import EdgeError, UsageError, run_command
from contract.noise import SEEDS
from contract.plan import MAX_COUNT, Plan
from pictures.contact_sheet import contact_path, write_contact_sheet
from runtime.annotator import ASKED, OFF
from runtime.backends.registry import AUTO, BACKENDS
from runtime.generator import MAX_BATCH, Generator
from runtime.outputs.folder import FolderOutput, check_channels
from runtime.outputs.raw_stream import FORMATS as PIXELS
from runtime.outputs.raw_stream import Outcome, check_video, cycle, descriptor, opened, stream_frames
from runtime.rejection_sampling import MAX_ATTEMPTS

FORMATS: dict[str, Callable[[str, Description], FolderOutput]] = {"folder": FolderOutput}
"""How a dataset can be written."""

DEFAULT_COUNT = 64
DEFAULT_OUTPUT = "frames"
STDOUT = 1
MAX_FPS = 10_000.0

ENDS = {"count": "all that were asked for", "reader": "the reader went away", "stopped": "interrupted"}
"""How a raw stream can end."""

EXAMPLES = """examples:
  python -m runtime.generate bundle -o frames -n 64
  python -m runtime.generate bundle -o night -n 1000 --set lighting=night accessory=sunglasses --seed 7
  python -m runtime.generate bundle -o grid --grid fatigue_level,distraction_type,lighting,accessory -n 10
  python -m runtime.generate bundle -o sure -n 1000 --reject-below 0.5
  python -m runtime.generate bundle --raw - --fps 30 --labels labels.jsonl |
      ffmpeg -f rawvideo -pix_fmt rgb24 -s 64x64 -r 30 -i - drivers.mkv"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m runtime.generate", description="Draw labelled frames from a bundle.", epilog=EXAMPLES
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that the exporter wrote")
    parser.add_argument("-o", "--output", metavar="DIR", help=f"dataset to write ({DEFAULT_OUTPUT})")
    parser.add_argument(
        "-n",
        "--count",
        type=integer(1, MAX_COUNT),
        metavar="N",
        help=f"frames in all ({DEFAULT_COUNT}; with --raw no end), or with --grid frames for each of its cells (1)",
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
    parser.add_argument(
        "--annotator",
        choices=ASKED,
        default=AUTO,
        help="what reads every frame (auto: int8 for frames drawn in int8, else fp32)",
    )
    parser.add_argument(
        "--reject-below",
        type=_probability,
        metavar="P",
        help=f"draw a frame again, {MAX_ATTEMPTS} times at most, that is less likely to show its classes (0 to 1)",
    )
    parser.add_argument("--state", metavar="DIR", help="where verified.json and caches go (the bundle, and beside it)")
    parser.add_argument("--format", choices=tuple(FORMATS), help="layout of the dataset (folder)")
    parser.add_argument("--raw", metavar="-|FILE", help="uint8 frames back to back to standard output or a named pipe")
    parser.add_argument("--fps", type=_rate, metavar="F", help="with --raw: frames a second, steady (as they come)")
    parser.add_argument(
        "--labels", type=descriptor, metavar="FILE|FD", help="with --raw: a JSON line for each frame, written before it"
    )
    parser.add_argument(
        "--json", action="store_true", help="print what was done as one JSON object (with --raw - to standard error)"
    )
    return _checked(parser.parse_args(argv))


def run(args: argparse.Namespace) -> int:
    _plan(args, read_manifest(args.bundle).schema, 1)  # wrong conditions are refused before an engine opens
    options = (args.backend, args.precision, args.batch, args.state)
    with Generator.open(args.bundle, *options, annotator=args.annotator) as generator:
        if args.reject_below is not None:
            generator.require_annotator()
        if args.backend == AUTO:
            _say_choice(generator)
        if args.annotator == AUTO and generator.annotator is None:
            _say_unannotated(generator)
        return _run_raw(args, generator) if args.raw else _run_dataset(args, generator)


def _run_dataset(args: argparse.Namespace, generator: Generator) -> int:
    started = time.perf_counter()
    check_channels(generator.manifest.image.channels)
    plan = _plan(args, generator.schema, 1 if args.grid else DEFAULT_COUNT)
    with FORMATS[args.format](args.output, _describe(generator, plan, args)) as output:
        before = output.written
        _fill(output, generator, plan, args)
    new = plan.count - before
    sheet = write_contact_sheet(args.output) if new or not contact_path(args.output).exists() else None
    seconds = time.perf_counter() - started
    _report(args, generator, plan.count, new, seconds, str(sheet or contact_path(args.output)))
    return 0


def _run_raw(args: argparse.Namespace, generator: Generator) -> int:
    """Stream frames until there are no more, or nobody takes them."""
    plan = _plan(args, generator.schema, 1)
    conditions = plan.conditions() if args.count else cycle(plan.conditions)
    with opened(STDOUT if args.raw == "-" else args.raw) as video, _labels(args.labels) as labels:
        _say_layout(generator)
        batches = generator.stream(conditions, args.seed, reject_below=args.reject_below)
        outcome = stream_frames(batches, video, labels, args.seed, args.fps)
    _report_raw(args, generator, outcome)
    if args.count and outcome.ended != "count":
        raise EdgeError(f"stopped after {outcome.frames} of {plan.count} frames: {ENDS[outcome.ended]}")
    return 0


def _plan(args: argparse.Namespace, schema: Schema, default: int) -> Plan:
    return Plan(schema, schema.parse(args.pairs), args.grid, args.count or default)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("runtime.generate", lambda: run(parse_args(argv)))


def _fill(output: FolderOutput, generator: Generator, plan: Plan, args: argparse.Namespace) -> None:
    """Generate what the output doesn't hold yet, a batch at a time."""
    done, seed = output.written, args.seed
    batches = generator.stream(plan.conditions(start=done), seed, start=done, reject_below=args.reject_below)
    with tqdm(total=plan.count, initial=done, unit="frame", disable=None) as progress:
        for batch in batches:
            rows = enumerate(batch.conditions)
            records = [record(batch.start + row, seed, condition, batch.reading(row)) for row, condition in rows]
            output.add(batch.frames, records)
            progress.update(len(records))


def _describe(generator: Generator, plan: Plan, args: argparse.Namespace) -> Description:
    source, annotator = generator.manifest.source, generator.annotator
    lineage = source.get("lineage") or {}
    return Description(
        bundle=generator.manifest.digest,
        frames=generator.manifest.frames_digest(generator.choice.file, annotator.file if annotator else None),
        checkpoint=source.get("checkpoint"),
        schema=generator.schema,
        seed=args.seed,
        count=plan.count,
        plan=plan.to_dict(),
        backend=generator.choice.backend,
        precision=generator.choice.precision,
        annotator=annotator.precision if annotator else None,
        reject_below=args.reject_below,
        epsilon=lineage.get("epsilon"),
        delta=lineage.get("delta"),
    )


def _say_choice(generator: Generator) -> None:
    choice = generator.choice
    why = f" ({choice.reason})" if choice.reason else ""
    print(f"runtime.generate: auto: {choice.backend} {choice.precision}{why}", file=sys.stderr)


def _say_unannotated(generator: Generator) -> None:
    """Why nothing is measured although the bundle has an annotator."""
    if any(name in generator.manifest.files for name in ANNOTATORS.values()):
        print(f"runtime.generate: auto: no annotator ({generator.unannotated})", file=sys.stderr)


def _report(args: argparse.Namespace, generator: Generator, count: int, new: int, seconds: float, sheet: str) -> None:
    description = read_dataset(args.output).description
    disagreeing = description.disagreeing
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
        "agreeing": None if disagreeing is None else count - disagreeing,
        "rejected": description.rejected,
    }
    figures |= _annotator_figures(args, generator) | generator.details()
    if args.json:
        print(json.dumps(figures))
    elif new:
        rate, shown = figures["frames_per_second"], _shown(figures)
        print(f"{Path(args.output)}: {count} frames, {new} of them new, {rate:.1f} a second{shown}; look at {sheet}")
    else:
        print(f"{Path(args.output)}: complete already, {count} frames{_shown(figures)}; look at {sheet}")


def _annotator_figures(args: argparse.Namespace, generator: Generator) -> dict[str, Any]:
    annotator = generator.annotator
    return {
        "annotator": annotator.precision if annotator else None,
        "annotator_seconds": round(annotator.seconds, 6) if annotator else 0.0,
        "reject_below": args.reject_below,
    }


def _shown(figures: dict[str, Any]) -> str:
    """What the annotator found, and nothing where none ran."""
    if figures["agreeing"] is None:
        return ""
    again = "" if figures["rejected"] is None else f", {figures['rejected']} were drawn again"
    return f"; {figures['agreeing']} of {figures['frames']} show what was asked for{again}"


def _say_layout(generator: Generator) -> None:
    channels, height, width = generator.manifest.image
    pixels = f", pix_fmt {PIXELS[channels]}" if channels in PIXELS else ""
    print(
        f"runtime.generate: raw frames {width}x{height}{pixels}, {channels * height * width} bytes each",
        file=sys.stderr,
    )


def _report_raw(args: argparse.Namespace, generator: Generator, outcome: Outcome) -> None:
    figures = outcome.to_dict() | {
        "engine_seconds": round(generator.engine_seconds, 6),
        "backend": generator.choice.backend,
        "precision": generator.choice.precision,
        "batch": generator.batch,
    }
    figures |= _annotator_figures(args, generator) | generator.details()
    if args.json:
        print(json.dumps(figures), file=sys.stderr if args.raw == "-" else sys.stdout)
        return
    line = (
        f"{outcome.frames} frames, {figures['frames_per_second']:.2f} a second, {ENDS[outcome.ended]}{_shown(figures)}"
    )
    if outcome.jitter_ms:
        p50, p99 = outcome.jitter_ms
        line += f"; jitter p50 {p50:.2f} ms, p99 {p99:.2f} ms, {outcome.late} late"
    print(f"runtime.generate: {line}", file=sys.stderr)


@contextlib.contextmanager
def _labels(target: int | str | None) -> Iterator[int | None]:
    if target is None:
        yield None
        return
    with opened(target) as labels:
        yield labels


def _checked(args: argparse.Namespace) -> argparse.Namespace:
    """UsageError for options that exclude each other; defaults where they don't."""
    for name in ("fps", "labels") if args.raw is None else ("output", "format"):
        if getattr(args, name) is not None:
            raise UsageError(f"--{name}: goes {'without' if args.raw else 'with'} --raw")
    if args.raw is not None and args.raw == args.labels:
        raise UsageError(f"--labels {args.labels}: the frames go there; give another file")
    if args.reject_below is not None and args.annotator == OFF:
        raise UsageError("--annotator off: --reject-below goes by what the annotator reads; leave one of them out")
    if args.raw == "-":
        if args.labels == STDOUT:
            raise UsageError("--labels 1: standard output takes the frames; give a file or another descriptor")
        check_video(STDOUT)
    args.output, args.format = args.output or DEFAULT_OUTPUT, args.format or "folder"
    return args


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= MAX_FPS:
        raise argparse.ArgumentTypeError(f"{text[:40]}: expected frames a second, above 0 and up to {MAX_FPS:g}")
    return rate


def _probability(text: str) -> float:
    try:
        probability = float(text)
    except ValueError:
        probability = 0.0
    if not 0 < probability < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]}: expected a probability above 0 and below 1")
    return probability


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


if __name__ == "__main__":
    raise SystemExit(main())
