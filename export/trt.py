"""Build TensorRT engines from a checkpoint, or from a bundle, which then needs no torch.

python -m export.trt build/bundle --flavor tensorrt_rtx --precision fp16 --target sm86 sm89 sm120 --batch 1,8,32
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contract.bundle import MANIFEST, Latent, Manifest, read_manifest
from contract.cli import Parser, integer
from contract.engine import FLAVORS, BatchProfile
from contract.errors import EdgeError, Unavailable, UsageError, run_command
from contract.gpu import gpu_target
from export.bundle import Draft, from_bundle, replacing
from export.engines.build import BuildOptions, BuiltEngine, add_annotator_engine, add_engine, check_annotator
from export.engines.flavors import AUTO, Flavor, find_flavor
from export.engines.spec import BuilderSettings, parse_batch
from export.options import OF_A_CHECKPOINT, add_checkpoint_options, given_flags
from export.parity import describe
from export.precisions import PRECISIONS

PROGRAM = "export.trt"

EXAMPLES = """examples:
  python -m export.trt checkpoints/cabin128.pt -o bundle --precision fp16
  python -m export.trt bundle --flavor tensorrt_rtx --precision fp16 int8 --target sm86 sm89 --batch 1,8,32
  python -m export.trt bundle --precision fp16 --batch 8          # on the Jetson itself, without torch
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; UsageError where it is wrong."""
    parser = Parser(prog=f"python -m {PROGRAM}", description=(__doc__ or "").partition("\n")[0], epilog=EXAMPLES)
    add = parser.add_argument
    add("source", metavar="CKPT.pt|BUNDLE", help="a checkpoint, or a bundle, which is extended in place without -o")
    add("-o", "--output", metavar="FOLDER", help="the bundle to write (the given one, or bundle)")
    add("--precision", nargs="+", choices=PRECISIONS, default=["fp16"], help="engines to build (fp16)")
    usual = BatchProfile(1, 8, 32)
    add("--batch", type=parse_batch, default=usual, metavar="N|MIN,OPT,MAX", help="batch sizes (1,8,32)")
    add("--flavor", choices=(AUTO, *FLAVORS), default=AUTO, help="tensorrt, or TensorRT for RTX (what can build here)")
    add(
        "--target",
        nargs="+",
        default=[],
        metavar="SM",
        help="such as sm86 (the GPU here; else RTX 30 to 50)",
    )
    add("--ampere-plus", action="store_true", help="one engine for every GPU from Ampere on (tensorrt, not on Jetson)")
    add("--strip-weights", action="store_true", help="leave the weights out; the runtime refits them from the graph")
    add("--annotator", action="store_true", help="an engine of the annotator too, which reads frames on the GPU")
    add("--level", type=integer(0, 5), metavar="0-5", help="builder optimization level (TensorRT's default)")
    add("--workspace", type=integer(1, 1 << 20), metavar="MB", help="limit of scratch memory (all there is)")
    add("--timing-cache", metavar="FILE", help="kept between builds (beside the bundle; tensorrt)")
    add_checkpoint_options(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Read, build, verify, report; without a TensorRT the bundle is made all the same, and the exit status is 1."""
    source = Path(args.source)
    output = Path(args.output or (source if _is_bundle(source) else "bundle"))
    precisions = list(dict.fromkeys(args.precision))
    _check_options(args, source)
    flavor, missing = _flavor(args.flavor)
    options = _build_options(args, flavor, output) if flavor else None
    before = _manifest_of(output)
    with replacing(output) as part:
        draft = (_from_bundle if _is_bundle(source) else _from_checkpoint)(part, source, precisions, args)
        if options and args.annotator:
            check_annotator(draft)
        added = [add_engine(draft, precision, options, output, before) for precision in precisions] if options else []
        if options and args.annotator:
            added.append(add_annotator_engine(draft, options, output, before))
        draft.write()
    if flavor is None:
        there = f"{output}: the step graphs are there and verified, but no engine"
        raise Unavailable(f"{there}: {missing}, then run: {_again(args, output)}")
    print(json.dumps(_report(output, flavor, draft, added)) if args.json else _text(output, flavor, draft, added))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROGRAM, lambda: run(parse_args(argv)))


def _is_bundle(source: Path) -> bool:
    """Whether the source is a bundle rather than a checkpoint: a file, or a folder that diffusers wrote."""
    return (source / MANIFEST).is_file()


def _check_options(args: argparse.Namespace, source: Path) -> None:
    """UsageError for options that contradict each other or the source."""
    if args.ampere_plus and args.target:
        raise UsageError("--ampere-plus and --target exclude each other")
    for option in OF_A_CHECKPOINT if _is_bundle(source) else ():
        if getattr(args, option) is not None:
            raise UsageError(f"--{option.replace('_', '-')}: {source} is a bundle, which says that itself")


def _check_pixels(latent: Latent | None, source: Path) -> None:
    """UsageError for latent models: the runtime's engines are of a step, which has no frame there."""
    if latent:
        raise UsageError(
            f"{source}: a latent model, of which no engines are made; run it with --backend cuda, openvino or cpu, or"
            " build one of its trajectory with trtexec: python -m export CKPT --precision fp16 --trajectory"
        )


def _flavor(name: str) -> tuple[Flavor | None, str]:
    """The flavor to build with, or None and how to get one."""
    try:
        return find_flavor(name), ""
    except Unavailable as error:
        return None, str(error)


def _build_options(args: argparse.Namespace, flavor: Flavor, output: Path) -> BuildOptions:
    """What to build; UsageError for options that this flavor doesn't have."""
    if flavor.rtx and args.strip_weights and gpu_target() is None:
        raise Unavailable("--strip-weights: TensorRT for RTX strips weights on a machine with a GPU only; leave it out")
    targets, settings = flavor.targets(args.target, args.ampere_plus), BuilderSettings(args.level, args.workspace)
    timing_cache = _timing_cache(args.timing_cache, output, flavor)
    return BuildOptions(flavor, targets, args.batch, args.strip_weights, settings, timing_cache)


def _from_bundle(part: Path, source: Path, precisions: list[str], args: argparse.Namespace) -> Draft:
    """The bundle again, with the step graphs that the engines are built from."""
    draft = from_bundle(part, source, args.verify)
    _check_pixels(draft.manifest.latent, source)
    if lacking := draft.lacking(precisions):
        draft.add_graphs(lacking, draft.base())
    return draft


def _from_checkpoint(part: Path, source: Path, precisions: list[str], args: argparse.Namespace) -> Draft:
    """A new bundle; it always has the graph in fp32, which a CPU runs and other engines are made of later."""
    try:
        from export.bundle_writer import from_checkpoint  # torch, which a bundle doesn't need
        from export.sampler import choose_sampler
        from models.checkpoint import read_checkpoint
        from models.importers.given import Given
    except ImportError as error:
        fix = "run: pip install '.[cpu,export]', or give a bundle in place of the checkpoint"
        raise Unavailable(f"a checkpoint can't be read here: {error}; {fix}") from error
    checkpoint = read_checkpoint(source, Given(**given_flags(args)))
    _check_pixels(checkpoint.latent, source)
    sampler = choose_sampler(checkpoint, args.steps, args.guidance, args.shift)
    return from_checkpoint(part, checkpoint, sampler, list(dict.fromkeys(["fp32", *precisions])), args.verify)


def _manifest_of(folder: Path) -> Manifest | None:
    """What was there before, for what can be kept of it; a damaged bundle is as good as none."""
    try:
        return read_manifest(folder) if (folder / MANIFEST).is_file() else None
    except EdgeError:
        return None


def _timing_cache(chosen: str | None, output: Path, flavor: Flavor) -> Path | None:
    """Where the timing cache is kept: by default beside the bundle, as it is this machine's own."""
    if not flavor.times_tactics:
        return None
    folder = output.resolve()
    return Path(chosen) if chosen else folder.with_name(f"{folder.name}.{flavor.name}.timing")


def _again(args: argparse.Namespace, output: Path) -> str:
    """The command that builds the engines from the bundle that is there now."""
    command = ["python", "-m", "export.trt", str(output), "--precision", *args.precision, "--batch", str(args.batch)]
    command += ["--annotator"] if args.annotator else []
    command += ["--flavor", args.flavor] if args.flavor != AUTO else []
    command += ["--target", *args.target] if args.target else []
    command += ["--ampere-plus"] if args.ampere_plus else []
    command += ["--strip-weights"] if args.strip_weights else []
    for name in ("level", "workspace", "timing_cache"):
        if (value := getattr(args, name)) is not None:
            command += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(command)


def _report(output: Path, flavor: Flavor, draft: Draft, added: list[BuiltEngine]) -> dict[str, Any]:
    files = draft.manifest.files
    engines = {engine.name: {**files[engine.name].to_dict(), "kept": engine.kept} for engine in added}
    about = {"bundle": str(output), "flavor": flavor.name, "version": flavor.version}
    return about | {"engines": engines, "parity": {name: dict(e) for name, e in draft.manifest.parity.items()}}


def _text(output: Path, flavor: Flavor, draft: Draft, added: list[BuiltEngine]) -> str:
    lines = [f"{output}: {flavor.name} {flavor.version}"]
    for engine in added:
        entry, parity = draft.manifest.files[engine.name], draft.manifest.parity.get(engine.name)
        size = (output / engine.name).stat().st_size / 1e6
        how = "unchanged, kept" if engine.kept else f"built in {entry.extra['seconds']:.1f} s"
        measured = describe(parity) if parity else "compared with the CPU's at its first batch"
        lines.append(f"  {engine.name}: {size:.1f} MB, {how}, {measured}")
        if not entry.extra["inspected"]:
            lines.append(f"    not inspected: {entry.extra['reason']}")
    return "\n".join([*lines, f"on the target: python -m runtime.verify {output}"])


if __name__ == "__main__":
    sys.exit(main())
