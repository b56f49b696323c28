"""Is this bundle what was exported, and does it draw the same frames on this machine? Is this dataset whole?

    python -m runtime.verify bundle                 # hashes every file, replays reference.npz
    python -m runtime.verify frames                 # every record and image of a dataset
    python -m runtime.verify bundle --state /var/lib/dms     # where the bundle is on a read-only disk

Every step graph that this machine can run is compared with the torch fp32 frames in `reference.npz`, by the
metric and tolerance that the manifest names for it, and every annotator has to read those frames. The result goes
into `verified.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contract.bundle import ANNOTATORS, FIX, Manifest, read_manifest
from contract.cli import Parser
from contract.errors import Refused, Unavailable, UsageError, run_command
from contract.files import sha256_of
from contract.parity import Reference, read_reference
from contract.progress import progress_bar
from runtime.annotator import Annotator
from runtime.backends.registry import AUTO, BACKENDS, Request
from runtime.generator import open_generator
from runtime.verified_cache import VERIFIED, new_report, require_verified, write_report
from runtime.verify_dataset import is_dataset, verify_dataset


def check_files(folder: Path, manifest: Manifest) -> None:
    """Hash every file of the bundle; Refused names the first that is missing or altered."""
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != entry.sha256:
            state = "altered" if path.is_file() else "missing"
            raise Refused(f"{path}: {state}, by the manifest's sha256; {FIX.format(folder=folder)}")


def verify(folder: Path, backend: str = AUTO, precision: str = AUTO, state: Path | None = None) -> dict[str, Any]:
    """Check every file, replay what runs here; the content of `verified.json`.

    With `auto` every backend, and every precision, is tried, and missing ones are listed as skipped; one that is named
    has to be there.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    reference = read_reference(folder, manifest)
    replayed, skipped = [], {}
    for name in BACKENDS if backend == AUTO else (backend,):
        try:
            BACKENDS[name].check()
            files = _files(manifest, name, precision)
        except Unavailable as error:
            if backend != AUTO:
                raise
            skipped[name] = str(error)
            continue
        for file in progress_bar(files, desc=f"replay, {name}", unit="file", leave=False):
            try:
                replayed.append(_replay(folder, Request(name, state=state, file=file), reference))
            except Unavailable as error:
                if backend != AUTO and precision != AUTO:
                    raise
                skipped[f"{name} {file}"] = str(error).removeprefix(f"{name}: ")
    annotated = _annotate(folder, manifest, reference, skipped)
    results = {"replayed": replayed, "annotated": annotated, "skipped": skipped}
    return new_report(manifest) | {"hashed": len(manifest.files)} | results


def _annotate(folder: Path, manifest: Manifest, reference: Reference, skipped: dict[str, str]) -> dict[str, int]:
    """Reference frames that each annotator has read; Refused where one doesn't open, or gives no numbers."""
    annotated = {}
    for precision, file in ANNOTATORS.items():
        if file in manifest.files:
            try:
                annotator = Annotator.open(folder, manifest, precision)
                annotated[file] = len(annotator.annotate(reference.frames).numbers)
                annotator.close()
            except Unavailable as error:
                skipped[file] = str(error)
    return annotated


def _replay(folder: Path, request: Request, reference: Reference) -> dict[str, Any]:
    with open_generator(folder, request) as generator:
        return {"backend": request.backend, **generator.replay(reference)}


def _files(manifest: Manifest, backend: str, precision: str) -> list[str]:
    """Every file that the backend may run, of one precision or of all."""
    named = sorted({entry.precision for entry in manifest.files.values() if entry.precision})
    wanted = named if precision == AUTO else [precision]
    found = [file for name in wanted for file in BACKENDS[backend].find(manifest, name)]
    if not found:
        of = "" if precision == AUTO else f" of precision {precision}"
        raise Unavailable(f"the bundle has no file{of} for it; make one: {BACKENDS[backend].missing}")
    return found


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m runtime.verify",
        description="Hash every file of a bundle and replay its reference frames on this machine, or check a dataset.",
        epilog="example:\n  python -m runtime.verify bundle --state /var/lib/dms",
    )
    parser.add_argument("bundle", metavar="BUNDLE|DATASET", help="what the exporter or runtime.generate wrote")
    parser.add_argument("--state", metavar="DIR", help=f"where to write {VERIFIED} (the bundle)")
    parser.add_argument("--backend", choices=(AUTO, *BACKENDS), default=AUTO, help="inference engine (all there are)")
    parser.add_argument("--precision", default=AUTO, metavar="P", help="fp32, fp16, int8: which files (all there are)")
    parser.add_argument("--json", action="store_true", help="print what was measured as one JSON object")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    if is_dataset(args.bundle):
        if given := [name for name in ("backend", "precision") if getattr(args, name) != AUTO]:
            raise UsageError(f"--{given[0]}: of a bundle, which is replayed; {args.bundle} is a dataset")
        found = verify_dataset(args.bundle)
        line = f"{args.bundle}: {found['frames']} frames as recorded, every one marked as synthetic"
        print(json.dumps(found) if args.json else line)
        return 0
    folder = Path(args.bundle)
    state = Path(args.state) if args.state else None
    report = verify(folder, args.backend, args.precision, state)
    write_report(state or folder, report)
    if args.json:
        print(json.dumps(report))
    else:
        _print(report)
    for result in report["replayed"]:
        require_verified(folder, result)
    if not report["replayed"]:
        raise Unavailable(f"{folder}: no file of it runs here: {'; '.join(report['skipped'].values())}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("runtime.verify", lambda: run(parse_args(argv)))


def _print(report: Mapping[str, Any]) -> None:
    print(f"{report['hashed']} files as exported")
    for entry in report["replayed"]:
        limits = f"{entry['metric']} {entry['measured']:g} against {entry['tolerance']:g}"
        print(f"{entry['file']} on {entry['device']}: {limits}, {entry['conditions']} frames")
    for name, count in report["annotated"].items():
        print(f"{name}: reads {count} frames")
    for name, reason in report["skipped"].items():
        print(f"skipped {name}: {reason}")


if __name__ == "__main__":
    raise SystemExit(main())
