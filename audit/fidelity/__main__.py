"""Do frames show what was asked for, and what is lost with fewer steps, another sampler or another precision?

    python -m audit.fidelity build/bundle --held-out build/held-out --frames 256
    python -m audit.fidelity checkpoints/cabin128-teacher.pt --held-out build/held-out --steps 50 10 4

An annotator reads every frame back; its own errors on held-out frames are the floor. All runs draw the conditions of
the held-out frames from the same noise; data sets stand beside them under labels of their own. The output folder holds
`fidelity.json`, `steps.png`, `fidelity.png`, `nearest.png` and every drawn frame, so that the same command continues
after an interruption and a longer one draws only what is new.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audit.fidelity.chart import write_chart
from audit.fidelity.copies import TrainingSet, find_copies
from audit.fidelity.distances import FEWEST, distances
from audit.fidelity.diversity import CONDITIONS, GROUP, diversity, spread
from audit.fidelity.held_out import SAME_CONDITION_START, HeldOut, evenly, read_frames, read_held_out
from audit.fidelity.inputs import open_source
from audit.fidelity.report import RunResult, dataset_row, difference, row, to_text
from audit.fidelity.runs import SAMPLERS, TORCH_PRECISIONS, Annotate, Draw, Run, RunFilter, Source
from audit.fidelity.sample_cache import cached_samples
from audit.fidelity.scores import by_person, figures, score, units
from audit.report.figures import to_json
from audit.stats.bootstrap import group_resamples
from contract.annotation import Annotation
from contract.bundle import VERSION
from contract.cli import Parser, integer
from contract.errors import Refused, Unavailable, run_command
from contract.files import write_whole
from contract.noise import SEEDS, stream
from pictures.contact_sheet import caption
from pictures.image_grid import draw_page, write_image
from sources.base import LabelledFrames

FORMAT = "dms-edge/fidelity@1"
PROGRAM = "python -m audit.fidelity"
LEAST = max(FEWEST, CONDITIONS)
MOST = 1_000_000
FEWEST_TRAINING = 2
TRAIN_ANNOTATOR = "train one: python -m training.train_annotator SHARDS --held-out SHARDS --into CHECKPOINT.pt"

EXAMPLES = """examples:
  python -m audit.fidelity build/bundle --held-out build/held-out --frames 256 --json
  python -m audit.fidelity teacher.pt --against student.pt --held-out build/held-out --steps 50 10 --sampler ddim ddpm
  python -m audit.fidelity teacher.pt --held-out build/held-out --guidance 1 2 3 --train build/cabin128"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    description = "How often generated frames show what their labels say, and how far they are from held-out ones."
    parser = Parser(prog=PROGRAM, description=description, epilog=EXAMPLES)
    add = parser.add_argument
    add("input", type=Path, nargs="+", metavar="BUNDLE_OR_CHECKPOINT", help="what draws the frames")
    add("--held-out", type=Path, required=True, metavar="FOLDER", help="frames of other people, with exact labels")
    help_again = "other frames of the held-out frames' conditions (none)"
    add("--rerendered", type=Path, nargs="+", default=[], metavar="FOLDER", help=help_again)
    help_datasets = "data sets with labels of their own, for the same table (none)"
    add("--datasets", type=Path, nargs="+", default=[], metavar="FOLDER", help=help_datasets)
    add("--against", type=Path, nargs="+", default=[], metavar="INPUT", help="more inputs for the same table")
    add("--steps", type=integer(1, 100_000), nargs="+", metavar="K", help="step counts of a checkpoint (50 10 4)")
    add("--sampler", choices=SAMPLERS, nargs="+", default=["ddim"], help="ddpm takes every timestep (ddim)")
    add("--precision", nargs="+", metavar="P", help="step graphs of a bundle (all)")
    help_torch = "precision of a checkpoint's network; bf16 takes half the time (fp32)"
    add("--torch", choices=TORCH_PRECISIONS, default="fp32", help=help_torch)
    add("--guidance", type=float, nargs="+", metavar="G", help="scales of a checkpoint (its own)")
    add("--frames", type=integer(LEAST, MOST), default=2000, metavar="N", help="frames of each run (2000)")
    add("--ddpm-frames", type=integer(LEAST, MOST), default=256, metavar="N", help="frames of a ddpm run (256)")
    add("--annotator", type=Path, metavar="INPUT", help="bundle or checkpoint whose annotator reads (the first input)")
    add("--train", type=Path, metavar="FOLDER", help="training frames, to look for copies (none)")
    add("--seed", type=integer(0, SEEDS - 1), default=0, metavar="S", help="of the noise (0)")
    add("-o", "--output", type=Path, default=Path("build/fidelity"), metavar="FOLDER", help="(build/fidelity)")
    add("--batch", type=integer(1, 4096), metavar="B", help="frames drawn at once (32, or the engine's)")
    help_backend = "engine of a bundle; with cuda and trt, checkpoints use torch on the GPU (cpu)"
    add("--backend", choices=("cpu", "openvino", "cuda", "trt"), default="cpu", help=help_backend)
    add("--json", action="store_true", help="print fidelity.json instead of tables")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Audit, write the files, print the report."""
    report = audit(args)
    write_whole(args.output / "fidelity.json", json.dumps(report, indent=1, allow_nan=False).encode() + b"\n")
    try:
        write_chart(args.output / "fidelity.png", report)
    except Unavailable as error:
        print(f"audit.fidelity: {error}", file=sys.stderr)
    pages = f"\n\nlook at {args.output / 'steps.png'}"
    print(json.dumps(report, allow_nan=False) if args.json else to_text(report) + pages)
    return 0


def audit(args: argparse.Namespace) -> Any:
    """Open, draw, read back and compare; the report as JSON values. The pages of frames are written on the way."""
    sources = [open_source(path, args.seed, args.batch, args.backend) for path in (*args.input, *args.against)]
    distinguish_names(sources)
    runs = choose_runs(sources, args)
    annotate, reader = choose_annotator(sources, args.annotator)
    first = sources[0]
    training = read_training(args.train, first, annotate) if args.train else None
    models = sources if reader in sources else [*sources, reader]
    held_out = read_held_out(args.held_out, first.schema, first.image, args.frames, args.rerendered, models)
    datasets = {str(path): read_dataset(path, first) for path in args.datasets}
    args.output.mkdir(parents=True, exist_ok=True)
    reference, rendered_spread = annotate(held_out.frames), None
    if held_out.same_condition is not None:
        rendered_spread = spread(annotate(held_out.same_condition).features, held_out.same_condition, GROUP)
    results, rows = [], []
    for source, chosen in runs:
        count = min(args.frames, args.ddpm_frames) if chosen.sampler == "ddpm" else args.frames
        folder = args.output / "runs" / chosen.digest
        with source.drawer(chosen) as draw:
            result = draw_and_score(chosen, draw, folder, annotate, held_out, count)
            vectors, title = held_out.same_condition_vectors, f"{chosen.label}, diversity"
            frames = cached_samples(folder, draw, vectors, SAME_CONDITION_START, title)
        results.append(result)
        own_spread = spread(annotate(frames).features, frames, GROUP)
        rows.append(row(result, reference, held_out) | {"diversity": diversity(own_spread, rendered_spread)})
    slowest = next((item for item in results if item.run.sampler == "ddpm"), results[0])
    for columns, item in zip(rows, results, strict=True):
        columns["difference"] = None if item is slowest else difference(item, slowest, reference, held_out.drivers)
    others = [
        dataset_row(name, data, chosen, annotate(data.frames[chosen]), reference)
        for name, data in datasets.items()
        for chosen in [evenly(len(data.frames), args.frames)]
    ]
    report = frame_of_reference(args, held_out, reference, annotate, reader.name)
    report |= {"runs": rows, "datasets": others, "nearest": None}
    if training:
        report["nearest"] = find_copies(args.output / "nearest.png", results, reference, training)
    write_image(args.output / "steps.png", steps_page(results, held_out))
    return to_json(report)


def distinguish_names(sources: Sequence[Source]) -> None:
    """Prefix sources of one name (two runs' `checkpoint.pt`) with their folders."""
    names = [source.name for source in sources]
    for source in sources:
        if names.count(source.name) > 1:
            source.name = f"{source.path.resolve().parent.name}/{source.name}"


def choose_runs(sources: Sequence[Source], args: argparse.Namespace) -> list[tuple[Source, Run]]:
    """Every run of the table; UsageError where there is none, Refused where two inputs draw different things."""
    for source in sources[1:]:
        check_alike(source, sources[0])
    steps, precisions, scales = (tuple(v) if v else None for v in (args.steps, args.precision, args.guidance))
    wanted = RunFilter(steps, tuple(args.sampler), precisions, scales, args.torch)
    # beside a teacher, a bundle or student keeps what is baked in: the options are for the teacher
    own = wanted if all(source.fixed for source in sources) else RunFilter(precisions=precisions, torch=args.torch)
    runs = [(source, chosen) for source in sources for chosen in source.runs(own if source.fixed else wanted)]
    return list({chosen.digest: (source, chosen) for source, chosen in runs}.values())


def check_alike(source: Source, first: Source) -> None:
    """Refused where two inputs take other conditions or draw other images."""
    if source.image != first.image or not source.schema.encodes_like(first.schema):
        raise Refused(f"{source.path}: another schema or image size than {first.path}; audit it by itself")


def choose_annotator(sources: Sequence[Source], path: Path | None) -> tuple[Annotate, Source]:
    """The annotator that was asked for, or the first of the inputs', and whose it is; Unavailable without any."""
    candidates = [open_source(path)] if path else sources
    for source in candidates:
        check_alike(source, sources[0])
        annotate = source.annotator()
        if annotate is not None:
            return annotate, source
    raise Unavailable(f"{candidates[0].path}: carries no annotator; {TRAIN_ANNOTATOR}, and export a bundle again")


def read_training(folder: Path, source: Source, annotate: Annotate) -> TrainingSet:
    """Training frames and their features; Refused for others than the model draws."""
    frames = read_frames(folder, source.schema, source.image).frames
    if len(frames) < FEWEST_TRAINING:
        raise Refused(f"{folder}: {len(frames)} frames; --train expects {FEWEST_TRAINING} or more")
    return TrainingSet(frames, annotate(frames).features.astype(np.float64))


def read_dataset(folder: Path, source: Source) -> LabelledFrames:
    """A data set of the frames that the model draws; Refused for others, or for too few to measure distances of."""
    data = read_frames(folder, source.schema, source.image)
    if len(data.frames) < LEAST:
        raise Refused(f"{folder}: {len(data.frames)} frames; --datasets expects {LEAST} or more")
    return data


def draw_and_score(
    chosen: Run, draw: Draw, folder: Path, annotate: Annotate, held_out: HeldOut, count: int
) -> RunResult:
    """Draw the frames that a run still lacks, and read all of them back."""
    frames = cached_samples(folder, draw, held_out.vectors[:count], title=chosen.label)
    annotation = annotate(frames)
    return RunResult(chosen, frames, annotation, score(held_out.schema, annotation, held_out.conditions[:count]))


def frame_of_reference(
    args: argparse.Namespace, held_out: HeldOut, reference: Annotation, annotate: Annotate, annotator: str
) -> dict[str, Any]:
    """What the runs are read beside: the annotator's own errors, chance, and other frames of the same conditions."""
    weights, conditions, drivers = group_resamples(held_out.drivers), held_out.conditions, held_out.drivers
    order = stream(0, args.frames, 0).permutation(args.frames)
    shuffled = score(held_out.schema, reference, [conditions[i] for i in order])
    exact = score(held_out.schema, reference, conditions)
    people = by_person(held_out.schema, exact, conditions, weights)
    count = {"frames": args.frames}
    floors: list[dict[str, Any]] = []
    if held_out.rerendered is not None:
        features = annotate(held_out.rerendered).features
        counts = {args.frames, min(args.frames, args.ddpm_frames)} if "ddpm" in args.sampler else {args.frames}
        floors = [{"frames": n} | distances(features[:n], reference.features[:n], drivers[:n]) for n in sorted(counts)]
    return {
        "format": FORMAT,
        "software": VERSION,
        "frames": args.frames,
        "seed": args.seed,
        "held_out": {
            "source": str(args.held_out),
            "sha256": held_out.fingerprint,
            "drivers": len(np.unique(drivers)),
        },
        "units": units(held_out.schema),
        "annotator": {"source": annotator} | count | figures(exact, weights) | {"persons": people},
        "shuffled": count | figures(shuffled, weights),
        "floors": floors,
    }


def steps_page(results: Sequence[RunResult], held_out: HeldOut) -> Any:
    """Conditions evenly apart down, runs across, the same noise in every row; the held-out frame comes first."""
    titles = ["held-out", *(item.run.label for item in results)]
    rows = evenly(min(len(item.frames) for item in results), CONDITIONS).tolist()
    captions = [caption(held_out.conditions[row], held_out.schema) for row in rows]
    tiles = [[held_out.frames[row], *(item.frames[row] for item in results)] for row in rows]
    return draw_page(titles, captions, tiles)


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("audit.fidelity", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
