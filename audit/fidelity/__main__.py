"""Do frames show what was asked for, and what is lost with fewer steps, another sampler or another precision?

    python -m audit.fidelity build/bundle --frames 256
    python -m audit.fidelity checkpoints/cabin64.pt --steps 50 10 4 --sampler ddim ddpm --train build/cabin64

An annotator reads every frame back; its own errors on held-out rendered frames stand beside as the floor. All runs
draw the same conditions, those of the held-out frames, from the same noise. The folder holds `fidelity.json`,
`steps.png`, `fidelity.png`, `nearest.png`, and every drawn frame, so that the same command goes on after an
interruption and a longer one draws only what is new.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from audit.fidelity.chart import write_chart
from audit.fidelity.distances import FEWEST, distances
from audit.fidelity.diversity import CONDITIONS, GROUP, diversity, spread
from audit.fidelity.held_out import KIN, HeldOut, read_held_out
from audit.fidelity.nearest import Nearest, find_nearest, most_suspicious
from audit.fidelity.report import RunResult, difference, plain, row, text
from audit.fidelity.sample_cache import (
    SAMPLERS,
    TORCH,
    TRAIN,
    Annotate,
    Draw,
    Run,
    RunFilter,
    Source,
    keep,
    open_source,
)
from audit.fidelity.scores import figures, score, units
from audit.stats.bootstrap import resamples
from contract.annotation import Annotation
from contract.bundle import VERSION
from contract.cli import Parser, integer
from contract.errors import Refused, Unavailable, UsageError, run_command
from contract.files import write_whole
from contract.noise import SEEDS
from pictures.contact_sheet import caption
from pictures.image_grid import draw_page, write_image

FORMAT = "dms-edge/fidelity@1"
PROGRAM = "python -m audit.fidelity"
LEAST = max(FEWEST, CONDITIONS)
MOST = 1_000_000

EXAMPLES = """examples:
  python -m audit.fidelity build/bundle --frames 256 --json
  python -m audit.fidelity teacher.pt --against student4.pt student2.pt --steps 50 10 4 --sampler ddim ddpm
  python -m audit.fidelity checkpoints/cabin64.pt --guidance 1 2 3 --steps 10 --train build/cabin64"""


class Training(NamedTuple):
    """What a run's frames are compared with when one looks for copies."""

    frames: np.ndarray[Any, np.dtype[np.uint8]]
    features: np.ndarray[Any, np.dtype[np.float64]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    description = "How often generated frames show what their labels say, and how far they are from rendered ones."
    parser = Parser(prog=PROGRAM, description=description, epilog=EXAMPLES)
    add = parser.add_argument
    add("input", type=Path, nargs="+", metavar="BUNDLE_OR_CHECKPOINT", help="what draws the frames")
    add("--against", type=Path, nargs="+", default=[], metavar="INPUT", help="more of them, for the same table")
    add("--steps", type=integer(1, 100_000), nargs="+", metavar="K", help="step counts of a checkpoint (50 10 4)")
    add("--sampler", choices=SAMPLERS, nargs="+", default=["ddim"], help="ddpm takes every timestep (ddim)")
    add("--precision", nargs="+", metavar="P", help="step graphs of a bundle (all)")
    add(
        "--torch", choices=TORCH, default="fp32", help="of the network of a checkpoint; bf16 takes half the time (fp32)"
    )
    add("--guidance", type=float, nargs="+", metavar="G", help="scales of a checkpoint (its own)")
    add("--frames", type=integer(LEAST, MOST), default=2000, metavar="N", help="frames of each run (2000)")
    add("--ddpm-frames", type=integer(LEAST, MOST), default=256, metavar="N", help="frames of a ddpm run (256)")
    add("--annotator", type=Path, metavar="INPUT", help="bundle or checkpoint whose annotator reads (the first input)")
    add("--held-out", type=Path, metavar="CACHE", help="rendered frames of other people (rendered here, and kept)")
    add("--train", type=Path, metavar="CACHE", help="training frames, to look for copies (none)")
    add("--seed", type=integer(0, SEEDS - 1), default=0, metavar="S", help="of the noise (0)")
    add("-o", "--output", type=Path, default=Path("build/fidelity"), metavar="FOLDER", help="(build/fidelity)")
    add("--batch", type=integer(1, 4096), metavar="B", help="frames drawn at once (32, or the engine's)")
    add(
        "--backend",
        choices=("cpu", "openvino", "cuda", "trt"),
        default="cpu",
        help="what draws; with cuda and trt checkpoints take torch on the GPU (cpu)",
    )
    add("--json", action="store_true", help="print fidelity.json in place of tables")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Open, draw, read back, compare, report."""
    sources = [open_source(path, args.seed, args.batch, args.backend) for path in (*args.input, *args.against)]
    tell_apart(sources)
    runs = choose_runs(sources, args)
    annotate, annotator = choose_annotator(sources, args.annotator)
    training = read_training(args.train, sources[0], annotate) if args.train else None
    first = sources[0]
    held_out = read_held_out(args.output, first.schema, first.image.height, args.frames, args.held_out)
    measured, reports = [], []
    reference = annotate(held_out.frames)
    kin = None if held_out.kin is None else spread(annotate(held_out.kin).features, held_out.kin, GROUP)
    for source, chosen in runs:
        count = min(args.frames, args.ddpm_frames) if chosen.sampler == "ddpm" else args.frames
        folder = args.output / "runs" / chosen.digest
        with source.drawer(chosen) as draw:
            found = measure(chosen, draw, folder, annotate, held_out, count)
            of_one = keep(folder, draw, held_out.kin_vectors, KIN, f"{chosen.label}, diversity")
        measured.append(found)
        apart = diversity(spread(annotate(of_one).features, of_one, GROUP), kin)
        reports.append(row(found, reference) | {"diversity": apart})
    slow = next((item for item in measured if item.run.sampler == "ddpm"), measured[0])
    for report, item in zip(reports, measured, strict=True):
        report["difference"] = None if item is slow else difference(item, slow, reference)
    whole = summary(args, held_out, reference, annotate, annotator) | {"runs": reports}
    if training:
        whole["nearest"] = look_for_copies(args.output, measured, reference, training)
    whole = plain(whole)
    write_image(args.output / "steps.png", steps_page(measured, held_out))
    write_whole(args.output / "fidelity.json", json.dumps(whole, indent=1, allow_nan=False).encode() + b"\n")
    try:
        write_chart(args.output / "fidelity.png", whole)
    except Unavailable as error:
        print(f"audit.fidelity.__main__: {error}", file=sys.stderr)
    print(json.dumps(whole, allow_nan=False) if args.json else f"{text(whole)}\n\nlook at {args.output / 'steps.png'}")
    return 0


def tell_apart(sources: Sequence[Source]) -> None:
    """Give sources of one name (two runs' `checkpoint.pt`) that of their folder as well."""
    names = [source.name for source in sources]
    for source in sources:
        if names.count(source.name) > 1:
            source.name = f"{source.path.resolve().parent.name}/{source.name}"


def choose_runs(sources: Sequence[Source], args: argparse.Namespace) -> list[tuple[Source, Run]]:
    """Every run of the table; UsageError where there is none, Refused where two inputs draw different things."""
    for source in sources[1:]:
        if (source.schema, source.image) != (sources[0].schema, sources[0].image):
            raise Refused(f"{source.path}: another schema or image size than {sources[0].path}; audit it by itself")
    free = [source for source in sources if source.path.is_file()]
    steps, precisions, scales = (tuple(v) if v else None for v in (args.steps, args.precision, args.guidance))
    wanted = RunFilter(steps, tuple(args.sampler), precisions, scales, args.torch)
    baked = RunFilter(precisions=wanted.precisions) if free else wanted  # what is asked of the checkpoints beside it
    runs = [(source, found) for source in sources for found in source.runs(wanted if source in free else baked)]
    if not runs:
        raise UsageError(f"--sampler {' '.join(args.sampler)}: a student draws with ddim alone")
    return list({found.digest: (source, found) for source, found in runs}.values())


def choose_annotator(sources: Sequence[Source], path: Path | None) -> tuple[Annotate, str]:
    """The annotator asked for, or the first one that an input carries, with its name; Unavailable without any."""
    candidates = [open_source(path)] if path else sources
    for source in candidates:
        if (source.schema, source.image) != (sources[0].schema, sources[0].image):
            raise Refused(f"{source.path}: its annotator reads another schema or size than {sources[0].path} draws")
        found = source.annotator()
        if found is not None:
            return found, source.name
    raise Unavailable(f"{candidates[0].path}: carries no annotator; {TRAIN}, and export a bundle again")


def measure(chosen: Run, draw: Draw, folder: Path, annotate: Annotate, held_out: HeldOut, count: int) -> RunResult:
    """Draw what isn't kept yet of a run, and read it back."""
    frames = keep(folder, draw, held_out.vectors[:count], title=chosen.label)
    annotation = annotate(frames)
    return RunResult(chosen, frames, annotation, score(held_out.schema, annotation, held_out.conditions[:count]))


def summary(
    args: argparse.Namespace, held_out: HeldOut, reference: Annotation, annotate: Annotate, annotator: str
) -> dict[str, Any]:
    """What the runs are read beside: the annotator's own floor, chance, and rendered against rendered frames."""
    weights, conditions = resamples(args.frames), held_out.conditions
    order = np.random.Generator(np.random.Philox(key=[0, args.frames])).permutation(args.frames)
    shuffled = score(held_out.schema, reference, [conditions[i] for i in order])
    count = {"frames": args.frames}
    counts = sorted({args.frames, min(args.frames, args.ddpm_frames)} if "ddpm" in args.sampler else {args.frames})
    own = figures(score(held_out.schema, reference, conditions), weights)
    again = None if held_out.again is None else annotate(held_out.again).features
    return {
        "format": FORMAT,
        "software": VERSION,
        "frames": args.frames,
        "seed": args.seed,
        "held_out": {"source": str(args.held_out or "rendered"), "sha256": held_out.fingerprint},
        "units": units(held_out.schema),
        "annotator": {"source": annotator} | count | own,
        "shuffled": count | figures(shuffled, weights),
        "floors": []
        if again is None
        else [{"frames": n} | distances(again[:n], reference.features[:n]) for n in counts],
        "nearest": None,
    }


def read_training(path: Path, source: Source, annotate: Annotate) -> Training:
    """Training frames and their features; Refused for frames of another size."""
    try:
        from sources.imagefolder import read_source
    except ImportError as error:
        raise Unavailable(
            f"{error.name or 'torch'} isn't installed, which --train needs; run: pip install '.[train]'"
        ) from error
    cached = read_source(path, source.schema.name)
    channels, height, width = source.image
    if cached.frames.shape[1:] != (height, width, channels) or len(cached.frames) < 2:
        found = " x ".join(map(str, cached.frames.shape))
        raise Refused(f"{path}: {found} frames; expected two or more of {height} x {width} x {channels}")
    return Training(cached.frames, annotate(cached.frames).features.astype(np.float64))


def look_for_copies(
    output: Path, measured: Sequence[RunResult], reference: Annotation, training: Training
) -> dict[str, Any]:
    """The most suspicious frames of all runs beside their nearest training frames, on a page and in figures."""
    found = [find_nearest(item.annotation.features.astype(np.float64), training.features) for item in measured]
    ratios = np.full((len(found), len(reference.features)), np.nan)
    for line, nearest in zip(ratios, found, strict=True):
        line[: len(nearest.ratio)] = nearest.ratio
    pairs = most_suspicious(ratios)
    control = find_nearest(reference.features.astype(np.float64), training.features)
    told = [_pair(measured[which], found[which], frame, training) for which, frame in pairs]
    captions = [[item["run"], f"frame {item['index']}", f"ratio {item['ratio']:.2f}"] for item in told]
    tiles = [[measured[w].frames[frame], training.frames[found[w].index[frame]]] for w, frame in pairs]
    write_image(output / "nearest.png", draw_page(["generated", "nearest training"], captions, tiles))
    return {
        "training_frames": len(training.frames),
        "held_out": _lowest(control),
        "runs": [{"run": item.run.label} | _lowest(nearest) for item, nearest in zip(measured, found, strict=True)],
        "frames": told,
    }


def steps_page(measured: Sequence[RunResult], held_out: HeldOut) -> Any:
    """Conditions down, runs across, the same noise in every row; first the rendered frame."""
    titles = ["rendered", *(item.run.label for item in measured)]
    rows = range(CONDITIONS)
    captions = [caption(held_out.conditions[row], held_out.schema) for row in rows]
    tiles = [[held_out.frames[row], *(item.frames[row] for item in measured)] for row in rows]
    return draw_page(titles, captions, tiles)


def _pair(measured: RunResult, nearest: Nearest, frame: int, training: Training) -> dict[str, Any]:
    other = int(nearest.index[frame])
    apart = measured.frames[frame].astype(np.float64) - training.frames[other]
    return {
        "run": measured.run.label,
        "index": frame,
        "training_index": other,
        "distance": float(nearest.distance[frame]),
        "spacing": float(nearest.spacing[frame]),
        "ratio": float(nearest.ratio[frame]),
        "pixels": float(np.sqrt((apart**2).mean()) / 255.0),
    }


def _lowest(nearest: Nearest) -> dict[str, float]:
    return {"smallest": float(nearest.ratio.min()), "first_percentile": float(np.quantile(nearest.ratio, 0.01))}


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("audit.fidelity", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
