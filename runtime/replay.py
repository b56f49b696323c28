"""Do the frames drawn here agree with those that torch drew at the export? Metrics, and what was found out before.

    result = replay(folder, manifest, file, reference, draw)       # draw(conditions, seed, batch) -> frames
    keep(state, manifest, [result])                                # into verified.json

A result counts for one bundle, file and device, and no other.
"""

from __future__ import annotations

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

from contract.bundle import MEND, VERSION, Manifest, open_checked
from contract.conditions import Array
from contract.errors import ParityError, Refused
from contract.files import parse_json, write_whole
from runtime.noise import check_seed

FORMAT = "dms-edge/verified@1"
VERIFIED = "verified.json"
REFERENCE = "reference.npz"
PEAK = 255
PERFECT_DB = 100.0
"""PSNR of equal frames, which is infinite: beyond that of frames that differ in a single pixel by one level."""

Frames = npt.NDArray[np.uint8]


def max_abs_difference(found: Frames, expected: Frames) -> float:
    """Largest absolute difference of any pixel, in levels of 255."""
    return float(np.abs(found.astype(np.int16) - expected.astype(np.int16)).max(initial=0))


def mean_abs_difference(found: Frames, expected: Frames) -> float:
    """Mean absolute difference over all pixels, in levels of 255."""
    return float(np.abs(found.astype(np.int16) - expected.astype(np.int16)).mean())


def pooled_psnr(found: Frames, expected: Frames) -> float:
    """PSNR in dB, peak 255, of the mean squared error over all frames."""
    return float(_psnr(_squared_errors(found, expected).mean()))


def worst_psnr(found: Frames, expected: Frames) -> float:
    """PSNR in dB of the frame that differs most."""
    return float(_psnr(_squared_errors(found, expected).max()))


def fifth_percentile_psnr(found: Frames, expected: Frames) -> float:
    """PSNR in dB that 95 % of the frames reach."""
    return float(np.percentile(_psnr(_squared_errors(found, expected)), 5))


@dataclass(frozen=True)
class Metric:
    """How two sets of frames are compared, and on which side of its tolerance a result is good."""

    measure: Callable[[Frames, Frames], float]
    higher_is_better: bool = False

    def good(self, measured: float, tolerance: float) -> bool:
        return measured >= tolerance if self.higher_is_better else measured <= tolerance


METRICS = {
    "max_abs_difference_of_255": Metric(max_abs_difference),
    "mean_abs_difference_of_255": Metric(mean_abs_difference),
    "pooled_psnr_db": Metric(pooled_psnr, higher_is_better=True),
    "worst_psnr_db": Metric(worst_psnr, higher_is_better=True),
    "fifth_percentile_psnr_db": Metric(fifth_percentile_psnr, higher_is_better=True),
}
"""The metrics that a manifest's `parity` may name."""

GATES: dict[str, tuple[tuple[str, float], ...]] = {
    "fp32": (("max_abs_difference_of_255", 1),),
    "fp16": (("pooled_psnr_db", 40), ("worst_psnr_db", 30)),
    "int8": (("pooled_psnr_db", 30), ("fifth_percentile_psnr_db", 24)),
}
"""What each precision must reach; the first is the one that is reported. fp32: engines order sums differently, so
that a pixel may be rounded to the neighbouring level. fp16 and int8: errors that nobody sees, and no broken frame."""


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


Draw = Callable[[Array, int, int], Frames]
"""Encoded conditions, seed and batch size in, frames out."""


def replay(
    folder: Path, manifest: Manifest, file: str, reference: Reference, draw: Draw, batches: Sequence[int]
) -> dict[str, Any]:
    """Draw the reference frames again at each batch size; what was measured, and whether it is good enough."""
    gates = _gates(folder, manifest, file)
    found = np.concatenate([_drawn(reference, draw, batch) for batch in batches])
    expected = np.concatenate([reference.frames] * len(batches))
    measured = {name: METRICS[name].measure(found, expected) for name, _ in gates}
    metric, tolerance = gates[0]
    failed = [name for name, limit in gates if not METRICS[name].good(measured[name], limit)]
    worst = int(_squared_errors(found, expected).argmax()) % len(reference.frames)
    return {
        "file": file,
        "metric": metric,
        "tolerance": tolerance,
        "measured": measured[metric],
        "also": {name: {"tolerance": limit, "measured": measured[name]} for name, limit in gates[1:]},
        "conditions": len(reference.frames),
        "batches": list(batches),
        "worst": worst,
        "verified": not failed,
    }


def require_verified(folder: Path, result: Mapping[str, Any]) -> None:
    """ParityError, with the figures and the worst condition, where a replay wasn't good enough."""
    if result["verified"]:
        return
    figures = {result["metric"]: result, **result["also"]}
    told = ", ".join(_told(name, entry["measured"], entry["tolerance"]) for name, entry in figures.items())
    where = f"{folder / result['file']} on {result['device']}"
    raise ParityError(f"{where}: {told}; condition {result['worst']} is the worst; {MEND.format(folder=folder)}")


def new_report(manifest: Manifest) -> dict[str, Any]:
    """`verified.json` of this bundle on this machine, with nothing in it yet."""
    about = {"format": FORMAT, "bundle": manifest.digest, "software": VERSION, "machine": platform.platform()}
    return about | {"hashed": 0, "replayed": [], "annotated": {}, "skipped": {}}


def read_verified(state: Path, manifest: Manifest) -> dict[str, Any]:
    """`verified.json` where it is of this bundle, else a new one: a damaged file is as good as none."""
    empty = new_report(manifest)
    try:
        found = parse_json((state / VERIFIED).read_bytes())
        good = isinstance(found, dict) and set(found) == set(empty) and isinstance(found["replayed"], list)
        good = good and all(isinstance(entry, dict) for entry in found["replayed"])
        return found if good and (found["format"], found["bundle"]) == (FORMAT, manifest.digest) else empty
    except (OSError, ValueError):
        return empty


def was_verified(state: Path, manifest: Manifest, file: str, device: str) -> bool:
    """Whether this file of this bundle was found good on this very device."""
    replayed = read_verified(state, manifest)["replayed"]
    return any((e.get("file"), e.get("device"), e.get("verified")) == (file, device, True) for e in replayed)


def keep(state: Path, manifest: Manifest, result: Mapping[str, Any]) -> None:
    """Add a result to `verified.json`, in place of an older one of the same file and device."""
    report = read_verified(state, manifest)
    same = (result["file"], result["device"])
    others = [entry for entry in report["replayed"] if (entry.get("file"), entry.get("device")) != same]
    write_report(state, report | {"replayed": [*others, dict(result)]})


def write_report(state: Path, report: Mapping[str, Any]) -> None:
    """Write `verified.json`; Refused where the folder takes none, with the option that names another."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        write_whole(state / VERIFIED, json.dumps(report, indent=1).encode() + b"\n")
    except OSError as error:
        mend = "name a folder that can be written with --state DIR"
        raise Refused(f"{state / VERIFIED}: {error.strerror or error}; {mend}") from error


def _gates(folder: Path, manifest: Manifest, file: str) -> list[tuple[str, float]]:
    """The manifest's metric and tolerance, then what else the precision must reach."""
    usual = list(GATES.get(str(manifest.files[file].precision), GATES["fp32"]))
    entry = manifest.parity.get(file, {})
    if "metric" not in entry:
        return usual
    metric: Any = entry["metric"]
    tolerance: Any = entry.get("tolerance")
    number = type(tolerance) in (int, float) and 0 <= tolerance <= PEAK
    if not isinstance(metric, str) or metric not in METRICS or not number:
        mend = MEND.format(folder=folder)
        raise Refused(f"{file}: parity by {metric!r} within {tolerance!r}, expected {', '.join(METRICS)}; {mend}")
    return [(metric, tolerance), *((name, limit) for name, limit in usual[1:] if name != metric)]


def _drawn(reference: Reference, draw: Draw, batch: int) -> Frames:
    """The reference frames, drawn in batches of exactly this size: the rows that lack are drawn and left out."""
    count = len(reference.frames)
    rows = np.arange(-(-count // batch) * batch) % count
    return draw(reference.conditions[rows], reference.seed, batch)[:count]


def _told(name: str, measured: float, tolerance: float) -> str:
    side = "at least" if METRICS[name].higher_is_better else "at most"
    return f"{name} {measured:g}, expected {side} {tolerance:g}"


def _squared_errors(found: Frames, expected: Frames) -> npt.NDArray[np.float64]:
    """Mean squared error of each frame, in levels of 255 squared."""
    difference = found.astype(np.float64) - expected
    return np.asarray((difference**2).reshape(len(found), -1).mean(axis=1))


def _psnr(squared_error: Any) -> Any:
    """PSNR in dB with peak 255."""
    with np.errstate(divide="ignore"):
        return np.minimum(10 * np.log10(PEAK**2 / np.asarray(squared_error)), PERFECT_DB)
