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

from contract.bundle import MANIFEST, Manifest, read_manifest
from contract.cli import Parser, integer
from contract.errors import EdgeError, Unavailable, UsageError, run_command
from export.__main__ import add_checkpoint_options, told
from export.bundle import Draft, from_bundle
from export.engines.build import BuildOptions, BuiltEngine, add_engine
from export.engines.flavors import AUTO, NAMES, Flavor, find_flavor, gpu_target
from export.engines.spec import Options, Profile
from export.folder import replacing
from export.precisions import PRECISIONS

PROGRAM = "export.trt"

EXAMPLES = """examples:
  python -m export.trt checkpoints/cabin64.pt -o bundle --precision fp16
  python -m export.trt bundle --flavor tensorrt_rtx --precision fp16 int8 --target sm86 sm89 --batch 1,8,32
  python -m export.trt bundle --precision fp16 --batch 8          # on the Jetson itself, without torch
"""

OF_A_CHECKPOINT = ("steps", "guidance", "arch", "schema", "image_size")
"""Options that a bundle answers by itself."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; UsageError where it is wrong."""
    parser = Parser(prog=f"python -m {PROGRAM}", description=(__doc__ or "").partition("\n")[0], epilog=EXAMPLES)
    add = parser.add_argument
    add("source", metavar="CKPT.pt|BUNDLE", help="a checkpoint, or a bundle, which is extended in place without -o")
    add("-o", "--output", metavar="FOLDER", help="the bundle to write (the given one, or bundle)")
    add("--precision", nargs="+", choices=PRECISIONS, default=["fp16"], help="engines to build (fp16)")
    add("--batch", type=Profile.parse, default=Profile(1, 8, 32), metavar="N|MIN,OPT,MAX", help="batch sizes (1,8,32)")
    add("--flavor", choices=(AUTO, *NAMES), default=AUTO, help="tensorrt, or TensorRT for RTX (what can build here)")
    add(
        "--target",
        nargs="+",
        default=[],
        metavar="SM",
        help="such as sm86 (the GPU here; else RTX 30 to 50)",
    )
    add("--ampere-plus", action="store_true", help="one engine for every GPU from Ampere on (tensorrt, not on Jetson)")
    add("--version-compatible", action="store_true", help="runs on newer releases, too (tensorrt, not on DRIVE)")
    add("--strip-weights", action="store_true", help="leave the weights out; the runtime refits them from the graph")
    add("--level", type=integer(0, 5), metavar="0-5", help="builder optimization level (TensorRT's default)")
    add("--workspace", type=integer(1, 1 << 20), metavar="MB", help="limit of scratch memory (all there is)")
    add("--dla", type=integer(0, 15), metavar="N", help="DLA core to place layers on (fp16 or int8, fixed --batch)")
    add("--timing-cache", metavar="FILE", help="kept between builds (beside the bundle; tensorrt)")
    add_checkpoint_options(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Read, build, verify, report; without a TensorRT the bundle is made all the same, and the exit status is 1."""
    source = Path(args.source)
    output = Path(args.output or (source if source.is_dir() else "bundle"))
    asked = list(dict.fromkeys(args.precision))
    _check_options(args, source)
    flavor, missing = _flavor(args.flavor)
    order = _order(args, flavor, output) if flavor else None
    before = _manifest_of(output)
    with replacing(output) as part:
        draft = _from_bundle(part, source, asked, args) if source.is_dir() else _from_checkpoint(part, asked, args)
        added = [add_engine(draft, precision, order, output, before) for precision in asked] if order else []
        draft.write()
    if flavor is None:
        there = f"{output}: the step graphs are there and verified, but no engine"
        raise Unavailable(f"{there}: {missing}, then run: {_again(args, output)}")
    print(json.dumps(_report(output, flavor, draft, added)) if args.json else _text(output, flavor, draft, added))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROGRAM, lambda: run(parse_args(argv)))


def _check_options(args: argparse.Namespace, source: Path) -> None:
    """UsageError for options that contradict each other or the source."""
    if args.dla is not None and (not args.batch.static or "fp32" in args.precision):
        raise UsageError("--dla: a DLA takes static shapes in fp16 or int8 only; give --batch N and --precision fp16")
    if args.ampere_plus and args.target:
        raise UsageError("--ampere-plus and --target exclude each other")
    for option in OF_A_CHECKPOINT if source.is_dir() else ():
        if getattr(args, option) is not None:
            raise UsageError(f"--{option.replace('_', '-')}: {source} is a bundle, which says that itself")


def _flavor(asked: str) -> tuple[Flavor | None, str]:
    """The flavor to build with, or None and how to get one."""
    try:
        return find_flavor(asked), ""
    except Unavailable as error:
        return None, str(error)


def _order(args: argparse.Namespace, flavor: Flavor, output: Path) -> BuildOptions:
    """What to build; UsageError for options that this flavor doesn't have."""
    if flavor.rtx and (args.version_compatible or args.dla is not None):
        option = "--version-compatible" if args.version_compatible else "--dla"
        raise UsageError(f"{option} is of --flavor tensorrt; TensorRT for RTX has nothing like it")
    if flavor.rtx and args.strip_weights and gpu_target() is None:
        raise Unavailable("--strip-weights: TensorRT for RTX strips weights on a machine with a GPU only; leave it out")
    options = Options(args.level, args.workspace, args.strip_weights, args.version_compatible, args.dla)
    targets = flavor.targets(args.target, args.ampere_plus)
    return BuildOptions(flavor, targets, args.batch, options, _timing_cache(args.timing_cache, output, flavor))


def _from_bundle(part: Path, source: Path, asked: list[str], args: argparse.Namespace) -> Draft:
    """The bundle again, with the step graphs that the engines are built from."""
    draft = from_bundle(part, source, args.verify)
    if lacking := draft.lacking(asked):
        draft.add_graphs(lacking, draft.base())
    return draft


def _from_checkpoint(part: Path, asked: list[str], args: argparse.Namespace) -> Draft:
    """A new bundle; it always has the graph in fp32, which a CPU runs and other engines are made of later."""
    try:
        from export.bundle_writer import from_checkpoint  # torch, which a bundle doesn't need
        from export.sampler import choose_sampler
        from models.checkpoint import read_checkpoint
    except ImportError as error:
        mend = "run: pip install '.[cpu,export]', or give a bundle in place of the checkpoint"
        raise Unavailable(f"a checkpoint can't be read here: {error}; {mend}") from error
    checkpoint = read_checkpoint(args.source, args.arch, args.schema, args.image_size)
    sampler = choose_sampler(checkpoint, args.steps, args.guidance)
    return from_checkpoint(part, checkpoint, sampler, list(dict.fromkeys(["fp32", *asked])), args.verify)


def _manifest_of(folder: Path) -> Manifest | None:
    """What was there before, for what can be kept of it; a damaged bundle is as good as none."""
    try:
        return read_manifest(folder) if (folder / MANIFEST).is_file() else None
    except EdgeError:
        return None


def _timing_cache(asked: str | None, output: Path, flavor: Flavor) -> Path | None:
    """Where the timing cache is kept: by default beside the bundle, as it is this machine's own."""
    if not flavor.times_tactics:
        return None
    folder = output.resolve()
    return Path(asked) if asked else folder.with_name(f"{folder.name}.{flavor.name}.timing")


def _again(args: argparse.Namespace, output: Path) -> str:
    """The command that builds the engines from the bundle that is there now."""
    command = ["python", "-m", "export.trt", str(output), "--precision", *args.precision, "--batch", str(args.batch)]
    command += ["--flavor", args.flavor] if args.flavor != AUTO else []
    command += ["--target", *args.target] if args.target else []
    return shlex.join(command)


def _report(output: Path, flavor: Flavor, draft: Draft, added: list[BuiltEngine]) -> dict[str, Any]:
    files = draft.manifest.files
    engines = {engine.name: {**files[engine.name].to_dict(), "kept": engine.kept} for engine in added}
    about = {"bundle": str(output), "flavor": flavor.name, "version": flavor.version}
    return about | {"engines": engines, "parity": {name: dict(e) for name, e in draft.manifest.parity.items()}}


def _text(output: Path, flavor: Flavor, draft: Draft, added: list[BuiltEngine]) -> str:
    lines = [f"{output}: {flavor.name} {flavor.version}"]
    for engine in added:
        entry, parity = draft.manifest.files[engine.name], draft.manifest.parity[engine.name]
        size = (output / engine.name).stat().st_size / 1e6
        how = "unchanged, kept" if engine.kept else f"built in {entry.extra['seconds']:.1f} s"
        lines.append(f"  {engine.name}: {size:.1f} MB, {how}, {told(parity)}")
        if not entry.extra["inspected"]:
            lines.append(f"    not inspected: {entry.extra['reason']}")
        if "dla_fallback" in entry.extra:
            lines.append(f"    on the GPU instead of the DLA: {', '.join(entry.extra['dla_fallback']) or 'nothing'}")
    return "\n".join([*lines, f"on the target: python -m runtime.verify {output}"])


if __name__ == "__main__":
    sys.exit(main())
