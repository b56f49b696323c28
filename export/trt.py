"""Build TensorRT engines from a checkpoint, or from a bundle, which then needs no torch.

python -m export.trt build/bundle --flavor tensorrt_rtx --precision fp16 --target sm86 sm89 sm120 --batch 1,8,32
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.arguments import Parser, integer
from contract.bundle import MANIFEST, FileEntry, Manifest, read_manifest
from contract.errors import EdgeError, Unavailable, UsageError, run_command
from contract.files import sha256_of
from export.__main__ import add_checkpoint_options, told
from export.build_process import build_engine
from export.draft import Draft, from_bundle, link
from export.engine import EngineSpec, Options, Profile, expected_seconds
from export.flavors import AUTO, NAMES, Flavor, find_flavor
from export.folder import replacing
from export.graphs import NAMES as GRAPHS
from export.graphs import PRECISIONS

PROGRAM = "python -m export.trt"

EXAMPLES = """examples:
  python -m export.trt checkpoints/cabin64.pt -o bundle --precision fp16
  python -m export.trt bundle --flavor tensorrt_rtx --precision fp16 int8 --target sm86 sm89 --batch 1,8,32
  python -m export.trt bundle --precision fp16 --batch 8          # on the Jetson itself, without torch
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; UsageError where it is wrong."""
    parser = Parser(prog=PROGRAM, description=(__doc__ or "").partition("\n")[0], epilog=EXAMPLES)
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
        help="compute capabilities (the GPU here; RTX without: 86 89 120)",
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
    source, from_folder = Path(args.source), Path(args.source).is_dir()
    output = Path(args.output or (source if from_folder else "bundle"))
    flavor, missing = _flavor(args)
    targets = _targets(args, flavor) if flavor else ()
    asked = list(dict.fromkeys(args.precision))
    before = _manifest_of(output)
    with replacing(output) as part:
        draft = _from_folder(part, source, asked, args) if from_folder else _from_checkpoint(part, args, asked)
        engines = _Engines(draft, output, before, args, flavor, targets) if flavor else None
        built = [engines.add(precision) for precision in asked] if engines else []
        draft.write()
    if flavor is None:
        raise Unavailable(
            f"{output}: the step graphs are there and verified, no engine; {missing}, then {_again(args, output)}"
        )
    print(json.dumps(_report(output, flavor, draft, built)) if args.json else _text(output, flavor, draft, built))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROGRAM, lambda: run(parse_args(argv)))


@dataclass(frozen=True)
class _Engine:
    """One engine of the bundle, as it came about in this run."""

    name: str
    kept: bool


class _Engines:
    """Adds engines to a draft: kept where nothing about them changed, else built."""

    def __init__(
        self,
        draft: Draft,
        output: Path,
        before: Manifest | None,
        args: argparse.Namespace,
        flavor: Flavor,
        targets: tuple[str, ...],
    ) -> None:
        self._draft, self._output, self._before = draft, output, before
        self._flavor, self._targets = flavor, targets
        self._batch, self._options = args.batch, _options(args)
        self._timing_cache = Path(args.timing_cache) if args.timing_cache else _beside(output, flavor)

    def add(self, precision: str) -> _Engine:
        """Keep or build, measure, and count one engine."""
        graph = GRAPHS[precision][-1]
        entry = self._draft.manifest.files[graph]
        flavor = self._flavor
        spec = EngineSpec(
            precision, graph, entry.sha256, flavor.name, flavor.version, self._targets, self._batch, self._options
        )
        kept = self._keep(spec)
        if not kept:
            self._build(spec, entry.extra.get("float_convolutions", []))
        return _Engine(spec.name, kept)

    def _keep(self, spec: EngineSpec) -> bool:
        """Take the engine over from the bundle that is there, if it is the very same and undamaged."""
        entry = self._before.files.get(spec.name) if self._before else None
        path = self._output / spec.name
        if self._before is None or entry is None or not spec.made(entry) or not path.is_file():
            return False
        if sha256_of(path) != entry.sha256:
            return False
        if not (self._draft.folder / spec.name).exists():
            link(path, self._draft.folder / spec.name)
        self._draft.add(spec.name, entry, dict(self._before.parity.get(spec.name, {})))
        return True

    def _build(self, spec: EngineSpec, kept: list[str]) -> None:
        draft = self._draft
        path, manifest = draft.folder / spec.name, draft.manifest
        path.unlink(missing_ok=True)  # a link to the older engine, which must not be written through
        expected = expected_seconds(spec, (self._before or manifest).files)
        notes = build_engine(
            spec,
            draft.folder / spec.graph,
            path,
            manifest.image,
            manifest.schema.width,
            kept,
            self._timing_cache,
            expected,
        )
        draft.add(spec.name, FileEntry(sha256_of(path), spec.precision, {**spec.extra(), **notes}))
        draft.measure(spec.name)


def _flavor(args: argparse.Namespace) -> tuple[Flavor | None, str]:
    """The flavor to build with, or None and how to get one."""
    try:
        return find_flavor(args.flavor), ""
    except Unavailable as error:
        return None, str(error)


def _targets(args: argparse.Namespace, flavor: Flavor) -> tuple[str, ...]:
    """What to build for; UsageError for options that this flavor, or a DLA, doesn't have."""
    if flavor.rtx and (args.version_compatible or args.dla is not None):
        option = "--version-compatible" if args.version_compatible else "--dla"
        raise UsageError(f"{option} is of --flavor tensorrt; TensorRT for RTX has nothing like it")
    if args.dla is not None and (not args.batch.static or "fp32" in args.precision):
        raise UsageError("--dla: a DLA takes static shapes in fp16 or int8 only; give --batch N and --precision fp16")
    if args.ampere_plus and args.target:
        raise UsageError("--ampere-plus and --target exclude each other")
    return flavor.targets(args.target, args.ampere_plus)


def _options(args: argparse.Namespace) -> Options:
    return Options(args.level, args.workspace, args.strip_weights, args.version_compatible, args.dla)


def _from_folder(part: Path, source: Path, asked: list[str], args: argparse.Namespace) -> Draft:
    for option in ("steps", "guidance", "arch", "schema", "image_size"):
        if getattr(args, option) is not None:
            raise UsageError(
                f"--{option.replace('_', '-')}: {source} is a bundle, which says that itself; leave it out"
            )
    draft = from_bundle(part, source, args.verify)
    if lacking := draft.lacking(asked):
        draft.add_graphs(lacking, draft.base())
    return draft


def _from_checkpoint(part: Path, args: argparse.Namespace, asked: list[str]) -> Draft:
    try:
        from export.bundle_writer import from_checkpoint  # torch, which a bundle doesn't need
        from export.sampler import choose_sampler
        from models.checkpoint import read_checkpoint
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"{error.name}, which reads checkpoints, isn't installed; run: pip install '.[cpu,export]', or give a bundle"
        ) from error
    checkpoint = read_checkpoint(args.source, args.arch, args.schema, args.image_size)
    sampler = choose_sampler(checkpoint, args.steps, args.guidance)
    precisions = list(dict.fromkeys(["fp32", *asked]))  # what other engines are made of later, and what a CPU runs
    return from_checkpoint(part, checkpoint, sampler, precisions, args.verify)


def _manifest_of(folder: Path) -> Manifest | None:
    """What was there before, for what can be kept of it; a damaged bundle is as good as none."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        return read_manifest(folder)
    except EdgeError:
        return None


def _beside(output: Path, flavor: Flavor) -> Path | None:
    """Where the timing cache is kept by default: it is this machine's own, and no part of the bundle."""
    folder = output.resolve()
    return folder.with_name(f"{folder.name}.{flavor.name}.timing") if flavor.times_tactics else None


def _again(args: argparse.Namespace, output: Path) -> str:
    """The command that builds the engines from the bundle that is there now."""
    command = ["python", "-m", "export.trt", str(output), "--precision", *args.precision, "--batch", str(args.batch)]
    if args.flavor != AUTO:
        command += ["--flavor", args.flavor]
    if args.target:
        command += ["--target", *args.target]
    return shlex.join(command)


def _report(output: Path, flavor: Flavor, draft: Draft, built: list[_Engine]) -> dict[str, Any]:
    files, parity = draft.manifest.files, draft.manifest.parity
    engines = {e.name: {**files[e.name].to_dict(), "kept": e.kept} for e in built}
    about = {"bundle": str(output), "flavor": flavor.name, "version": flavor.version}
    return about | {"engines": engines, "parity": {name: dict(entry) for name, entry in parity.items()}}


def _text(output: Path, flavor: Flavor, draft: Draft, built: list[_Engine]) -> str:
    lines = [f"{output}: {flavor.name} {flavor.version}"]
    for engine in built:
        entry, parity = draft.manifest.files[engine.name], draft.manifest.parity.get(engine.name, {})
        size = (output / engine.name).stat().st_size / 1e6
        how = "unchanged, kept" if engine.kept else f"built in {entry.extra['seconds']:.1f} s"
        lines.append(f"  {engine.name}: {size:.1f} MB, {how}, {told(parity)}")
        if "dla_fallback" in entry.extra:
            lines.append(f"    on the GPU instead of the DLA: {', '.join(entry.extra['dla_fallback']) or 'nothing'}")
    return "\n".join([*lines, f"on the target: python -m runtime.verify {output}"])


if __name__ == "__main__":
    sys.exit(main())
