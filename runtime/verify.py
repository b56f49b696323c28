"""Is this bundle what was exported, and does it draw the same frames on this machine?

    python -m runtime.verify bundle                 # hashes every file, replays reference.npz
    python -m runtime.verify bundle --state /var/lib/dms     # where the bundle lies on a read-only disk

Every step graph that this machine can run is held against the torch fp32 frames in `reference.npz`, by the
metric and tolerance that the manifest names for it. The result goes into `verified.json`.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.bundle import MEND, VERSION, Manifest, open_checked, read_manifest, sha256_of, write_whole
from contract.conditions import Array
from contract.errors import ParityError, Refused, Unavailable, run_command
from runtime.arguments import Parser
from runtime.backend import AUTO, BACKENDS
from runtime.generator import Generator
from runtime.noise import check_seed

FORMAT = "dms-edge/verified@1"
VERIFIED = "verified.json"
REFERENCE = "reference.npz"
DEFAULT_PARITY = {"metric": "max_abs_difference_of_255", "tolerance": 1}
"""Where the manifest names none: rounding may differ by one level of 255, since engines order sums differently."""

Frames = npt.NDArray[np.uint8]


def max_abs_difference(found: Frames, expected: Frames) -> float:
    """Largest absolute difference of any pixel, in levels of 255."""
    return float(np.abs(found.astype(np.int16) - expected.astype(np.int16)).max(initial=0))


def mean_abs_difference(found: Frames, expected: Frames) -> float:
    """Mean absolute difference over all pixels, in levels of 255."""
    return float(np.abs(found.astype(np.int16) - expected.astype(np.int16)).mean())


METRICS: dict[str, Callable[[Frames, Frames], float]] = {
    "max_abs_difference_of_255": max_abs_difference,
    "mean_abs_difference_of_255": mean_abs_difference,
}
"""The metrics that a manifest's `parity` may name."""


@dataclass(frozen=True)
class Reference:
    """What torch fp32 drew where the bundle was exported."""

    conditions: Array
    """float32 [N, D], those that there are frames of"""

    seed: int
    frames: Frames
    """uint8 [N, H, W, C], of the indices 0 to N - 1"""


def read_reference(folder: Path, manifest: Manifest) -> Reference:
    """Read `reference.npz`; Refused where it isn't what the manifest describes."""
    content = open_checked(folder, manifest, REFERENCE)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            conditions, seed, frames = arrays["conditions"], arrays["seed"], arrays["frames"]
    except (ValueError, KeyError, OSError, EOFError, MemoryError, zipfile.BadZipFile, NotImplementedError) as error:
        raise Refused(f"{folder / REFERENCE}: not readable ({error}); {MEND.format(folder=folder)}") from error
    channels, height, width = manifest.image
    found = [(conditions.dtype, conditions.shape), (frames.dtype, frames.shape), (seed.dtype, seed.shape)]
    good = conditions.dtype == np.float32 and conditions.shape[1:] == (manifest.schema.width,)
    good = good and frames.dtype == np.uint8 and frames.shape[1:] == (height, width, channels)
    good = good and seed.shape == () and seed.dtype.kind in "iu" and 0 < len(frames) <= len(conditions)
    if not good:
        expected = (
            f"float32 [N, {manifest.schema.width}], uint8 [up to N, {height}, {width}, {channels}] and one integer"
        )
        raise Refused(f"{folder / REFERENCE}: holds {found}, expected {expected}; {MEND.format(folder=folder)}")
    return Reference(conditions[: len(frames)], check_seed(int(seed)), frames)


def check_files(folder: Path, manifest: Manifest) -> None:
    """Hash every file of the bundle; Refused names the first that is missing or altered."""
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != entry.sha256:
            state = "altered" if path.is_file() else "missing"
            raise Refused(f"{path}: {state}, by the manifest's sha256; {MEND.format(folder=folder)}")


def replay(folder: Path, manifest: Manifest, backend: str, precision: str, reference: Reference) -> dict[str, Any]:
    """Draw the reference frames again; what was measured. Unavailable where this machine can't run the file."""
    with Generator.open(folder, backend, precision) as generator:
        frames = generator.generate(reference.conditions, reference.seed)
        file = generator.choice.file
    parity = {**DEFAULT_PARITY, **manifest.parity.get(file, {})}
    metric, tolerance = parity["metric"], parity["tolerance"]
    if metric not in METRICS or type(tolerance) not in (int, float):
        mend = MEND.format(folder=folder)
        raise Refused(f"{file}: parity by {metric!r} within {tolerance!r}, expected {', '.join(METRICS)}; {mend}")
    measured = METRICS[metric](frames, reference.frames)
    result = {"file": file, "backend": backend, "precision": precision, "metric": metric, "tolerance": tolerance}
    return result | {"measured": measured, "conditions": len(frames), "verified": measured <= tolerance}


def verify(folder: Path, backend: str = AUTO) -> dict[str, Any]:
    """Check every file, replay what runs here; the content of `verified.json`.

    With `auto` every backend is tried and those that aren't there are listed as skipped; a backend asked
    for by name has to be there.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    reference = read_reference(folder, manifest)
    replayed, skipped = [], {}
    for name in BACKENDS if backend == AUTO else (backend,):
        for precision in _precisions(manifest, name):
            try:
                replayed.append(replay(folder, manifest, name, precision, reference))
            except Unavailable as error:
                if backend != AUTO:
                    raise
                skipped[f"{name} {precision}"] = str(error).removeprefix(f"{name}: ")
    return {
        "format": FORMAT,
        "bundle": manifest.digest,
        "software": VERSION,
        "machine": platform.platform(),
        "hashed": len(manifest.files),
        "replayed": replayed,
        "skipped": skipped,
    }


def _precisions(manifest: Manifest, backend: str) -> list[str]:
    named = sorted({entry.precision for entry in manifest.files.values() if entry.precision})
    return [precision for precision in named if BACKENDS[backend].find(manifest, precision)]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m runtime.verify",
        description="Hash every file of a bundle and replay its reference frames on this machine.",
        epilog="example:\n  python -m runtime.verify bundle --state /var/lib/dms",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that the exporter wrote")
    parser.add_argument("--state", metavar="DIR", help=f"where to write {VERIFIED} (the bundle)")
    parser.add_argument("--backend", choices=(AUTO, *BACKENDS), default=AUTO, help="inference engine (all there are)")
    parser.add_argument("--json", action="store_true", help="print what was measured as one JSON object")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    folder = Path(args.bundle)
    report = verify(folder, args.backend)
    state = Path(args.state) if args.state else folder
    state.mkdir(parents=True, exist_ok=True)
    write_whole(state / VERIFIED, json.dumps(report, indent=1).encode() + b"\n")
    if args.json:
        print(json.dumps(report))
    else:
        _print(report)
    _check(report, folder)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("runtime.verify", lambda: run(parse_args(argv)))


def _print(report: Mapping[str, Any]) -> None:
    print(f"{report['hashed']} files as exported")
    for entry in report["replayed"]:
        limits = f"{entry['metric']} {entry['measured']:g} of {entry['tolerance']:g} allowed"
        print(f"{entry['file']} on {entry['backend']}: {limits}, {entry['conditions']} frames")
    for name, reason in report["skipped"].items():
        print(f"skipped {name}: {reason}")


def _check(report: Mapping[str, Any], folder: Path) -> None:
    for entry in report["replayed"]:
        if not entry["verified"]:
            found = f"{entry['metric']} {entry['measured']:g}, expected at most {entry['tolerance']:g}"
            raise ParityError(f"{folder / entry['file']} on {entry['backend']}: {found}; {MEND.format(folder=folder)}")
    if not report["replayed"]:
        raise Unavailable(f"{folder}: no file of it runs here: {'; '.join(report['skipped'].values())}")


if __name__ == "__main__":
    raise SystemExit(main())
