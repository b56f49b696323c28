"""The flags that every generating command shares: which bundle, which frames, by which engine, in which layout.

parser = Parser(prog="python -m runtime.generate", description=..., epilog=...)
add_options(parser)
args = parser.parse_args(argv)
manifest = read_manifest(args.bundle)
plan = make_plan(args, manifest.schema)               # refuses wrong conditions before an engine opens
with open_from(args, manifest, PROGRAM) as generator: ...
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from contract.bundle import ANNOTATORS, Manifest
from contract.cli import Parser, integer, number
from contract.conditions import Schema
from contract.cores import limit_cores
from contract.dataset import ClipShape
from contract.engine import MAX_BATCH
from contract.errors import UsageError
from contract.frames import ImageShape
from contract.noise import SEEDS
from contract.plan import MAX_COUNT, Cell, Plan
from runtime.annotator import CHOICES, OFF
from runtime.backends.registry import AUTO, BACKENDS
from runtime.batch_sweep import fastest, sweep
from runtime.clip_videos import check_video_encoder
from runtime.clips import ClipPlan, FramePlan, shape_of
from runtime.dataset_run import RunSettings
from runtime.generator import Generator
from runtime.outputs.images import CODECS, check_codec
from runtime.outputs.labels import LABELS
from runtime.outputs.signing import CERTIFICATE_COMMAND, FrameSigner
from runtime.outputs.writer import FORMATS
from runtime.plans import balancing_plan, read_plan
from runtime.rejection_sampling import MAX_ATTEMPTS

DEFAULT_COUNT = 64
MAX_FPS = 10_000.0
MAX_SECONDS = 3600.0
MAX_THREADS = 1024
DEFAULT_OUTPUT = "frames"
DEFAULT_FORMAT = "folder"
DEFAULT_CODEC = "png"


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
    add("--plan", metavar="FILE", help="cells with counts, values and ranges, in YAML (runtime/plans.py shows one)")
    balance_help = "records of another dataset (metadata.jsonl); order what it lacks"
    add("--balance", metavar="FILE", help=balance_help)
    add("--by", type=_names, default=(), metavar="FIELD,FIELD", help="with --balance: class fields to balance by")
    to_help = "with --balance: frames that each combination shall have (as many as the fullest)"
    add("--to", type=integer(1, MAX_COUNT), metavar="N", help=to_help)
    add("--seed", type=integer(0, SEEDS - 1), default=0, metavar="S", help="0 to 2^64 - 1 (0)")
    add("--batch", type=_batch, metavar="B", help="frames in one call of the engine, or auto: the fastest, measured")
    add("--backend", choices=(AUTO, *BACKENDS), default=AUTO, help="inference engine (auto)")
    add("--precision", default=AUTO, metavar="P", help="fp32, fp16, int8: which step graph (auto)")
    annotator_help = "which annotator reads the frames (auto: int8 for frames drawn in int8, else fp32)"
    add("--annotator", choices=CHOICES, default=AUTO, help=annotator_help)
    reject_help = f"redraw a frame that is less likely to show its classes (0 to 1), {MAX_ATTEMPTS} attempts at most"
    add("--reject-below", type=number(0, 1, "a probability above 0 and below 1", "()"), metavar="P", help=reject_help)
    threads_help = "cores to keep busy (those that this process may use, also by its container's quota)"
    add("--threads", type=integer(1, MAX_THREADS), metavar="N", help=threads_help)
    add("--state", metavar="DIR", help="where verified.json and caches go (the bundle, and beside it)")
    add("--format", choices=tuple(FORMATS), help=f"layout of the dataset ({DEFAULT_FORMAT})")
    add("--codec", choices=tuple(CODECS), help=f"image format; webp is lossless, jpeg isn't ({DEFAULT_CODEC})")
    sign_help = f"sign every image with C2PA, by PEM files; make some: {CERTIFICATE_COMMAND}"
    labels_help = "write the labels of the finished dataset in these formats, too"
    add("--labels-as", choices=tuple(LABELS), nargs="+", default=[], metavar="FORMAT", help=labels_help)
    add("--sign", nargs=2, metavar=("CERT", "KEY"), help=sign_help)
    clip_help = (
        "instead of frames, -n clips (1) of this length: one driver each, who blinks, yawns, looks about and nods"
    )
    length = number(0, MAX_SECONDS, f"seconds, above 0 and up to {MAX_SECONDS:g}", "(]")
    add("--clip", type=length, metavar="SECONDS", help=clip_help)
    rate = number(0, MAX_FPS, f"frames a second, above 0 and up to {MAX_FPS:g}", "(]")
    add(
        "--fps",
        type=rate,
        metavar="F",
        help="frames a second of --clip, or of --raw, which is as fast as it can be else",
    )
    add("--video", action="store_true", help="with --clip: also videos/NNNNN.mp4, one for each clip")


def check_options(args: argparse.Namespace) -> None:
    """UsageError for options that exclude each other."""
    orders = [name for name in ("grid", "plan", "balance") if getattr(args, name)]
    if len(orders) > 1:
        raise UsageError(f"--{orders[0]} and --{orders[1]}: take one of them")
    if args.count and (args.plan or args.balance):
        raise UsageError(f"-n: goes without --{orders[0]}, which says how many frames there are")
    if (args.by or args.to) and not args.balance:
        raise UsageError(f"--{'by' if args.by else 'to'}: goes with --balance")
    if args.clip and not args.fps:
        raise UsageError("--clip: goes with --fps F, the frames a second")
    if args.video and not args.clip:
        raise UsageError("--video: goes with --clip")
    if args.reject_below is not None and args.annotator == OFF:
        raise UsageError("--annotator off: --reject-below needs the annotator; leave one of them out")


def make_plan(args: argparse.Namespace, schema: Schema, default: int = DEFAULT_COUNT) -> FramePlan:
    """The requested conditions; UsageError for fields and values that the schema doesn't have."""
    shape = clip_shape(args)
    plan = _plan_of(args, schema, 1 if args.grid or shape else default)
    return ClipPlan(plan, shape) if shape else plan


def _plan_of(args: argparse.Namespace, schema: Schema, default: int) -> Plan:
    common = schema.parse(args.pairs)
    if args.plan:
        return read_plan(args.plan, schema, common)
    if args.balance:
        return balancing_plan(args.balance, schema, args.by, args.to, common)
    return Plan(schema, [Cell(common, args.grid, args.count or default)])


def make_settings(args: argparse.Namespace) -> RunSettings:
    """What a dataset is asked for beside its plan."""
    layout, codec = args.format or DEFAULT_FORMAT, args.codec or DEFAULT_CODEC
    return RunSettings(args.seed, args.reject_below, layout, codec, args.sign is not None, clip_shape(args))


def clip_shape(args: argparse.Namespace) -> ClipShape | None:
    """The length of the clips that were asked for, None without `--clip`."""
    return shape_of(args.clip, args.fps) if args.clip else None


def check_images(args: argparse.Namespace, image: ImageShape) -> None:
    """Refuse formats that can't hold such frames, before the first one is drawn."""
    check_codec(make_settings(args).codec, image.channels)
    if args.video:
        check_video_encoder(image)


def _batch(text: str) -> int | str:
    """An argument type: a number of frames, or `auto`."""
    try:
        return AUTO if text == AUTO else integer(1, MAX_BATCH)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or {AUTO}") from None


def open_signer(args: argparse.Namespace) -> FrameSigner | None:
    """What signs the images, where that is asked for."""
    return FrameSigner.open(*args.sign) if args.sign else None


@contextmanager
def open_from(args: argparse.Namespace, manifest: Manifest, program: str) -> Iterator[Generator]:
    """The opened generator; what `auto` chose, and why, goes to standard error."""
    limit_cores(args.threads)
    where = (args.bundle, args.backend, args.precision)
    options: dict[str, Any] = {"state": args.state, "manifest": manifest}
    batch = _fastest_batch(where, options, program) if args.batch == AUTO else args.batch
    with Generator.open(*where, batch=batch, annotator=args.annotator, **options) as generator:
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


def _fastest_batch(where: tuple[str, str, str], options: dict[str, Any], program: str) -> int:
    """The batch size that draws the most frames a second here.

    Measured by a generator of its own: the buffers and graphs of the sizes that were tried go with it.
    """
    with Generator.open(*where, annotator=OFF, **options) as generator:
        rates = sweep(generator)
    measured = ", ".join(f"{size}: {rate:.4g}" for size, rate in rates.items())
    print(f"{program}: --batch auto: {fastest(rates)} of {measured} frames a second", file=sys.stderr)
    return fastest(rates)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)
