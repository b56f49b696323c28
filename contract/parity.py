"""Do two engines draw the same frames? Metrics, what each precision must reach, and the comparison itself.

    comparison = compare(draw, reference, {8: 32, 1: 8}, gates_of("fp16"))
    comparison.faults                              # empty where every gate is reached

The exporter compares each file with torch; the runtime compares each file with `reference.npz` where torch is absent.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.bundle import FIX, Manifest, open_checked
from contract.conditions import Array
from contract.errors import Refused
from contract.frames import PEAK, Frames, psnr, squared_errors
from contract.noise import check_seed

REFERENCE = "reference.npz"
MOST, HEADERS = 1024, 1024
"""Frames of it at most, and bytes beside them that each may take: a small file may unpack to anything."""

Gate = tuple[str, float]
"""Name of a metric and its tolerance."""

Draw = Callable[[npt.NDArray[np.int64], int], Frames]
"""Row numbers of the reference (a multiple of the batch size) and the batch size in, frames out."""


def max_abs_difference(found: Frames, expected: Frames) -> float:
    """Largest absolute difference of any pixel, in levels of 255."""
    return float(np.abs(found.astype(np.int16) - expected.astype(np.int16)).max(initial=0))


def mean_abs_difference(found: Frames, expected: Frames) -> float:
    """Mean absolute difference over all pixels, in levels of 255."""
    return float(np.abs(found.astype(np.int16) - expected.astype(np.int16)).mean())


def pooled_psnr(found: Frames, expected: Frames) -> float:
    """PSNR in dB, peak 255, of the mean squared error over all frames."""
    return float(psnr(squared_errors(found, expected).mean()))


def worst_psnr(found: Frames, expected: Frames) -> float:
    """PSNR in dB of the frame that differs most."""
    return float(psnr(squared_errors(found, expected).max()))


def fifth_percentile_psnr(found: Frames, expected: Frames) -> float:
    """PSNR in dB that 95 % of the frames reach."""
    return float(np.percentile(psnr(squared_errors(found, expected)), 5))


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

GATES: dict[str, tuple[Gate, ...]] = {
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


@dataclass(frozen=True)
class Comparison:
    """How frames compare with the reference, by each gate."""

    gates: Sequence[Gate]
    measured: Mapping[str, float]
    """Metric -> value."""

    conditions: int
    """How many different conditions were drawn."""

    batches: Sequence[int]
    """Batch sizes that they were drawn at."""

    worst: int
    """The condition whose frame differs most."""

    differing: float
    """Share of all values that differ at all."""

    blank: Sequence[int]
    """Conditions whose frame is of one colour where the reference's isn't: NaN reaches every pixel of its frame."""

    @property
    def faults(self) -> list[str]:
        """What is wrong, gate by gate; empty where nothing is."""
        wrong = []
        for name, tolerance in self.gates:
            if not METRICS[name].good(self.measured[name], tolerance):
                side = "at least" if METRICS[name].higher_is_better else "at most"
                wrong.append(f"{name} {self.measured[name]:g}, expected {side} {tolerance:g}")
        if self.blank:
            wrong.append(f"{len(self.blank)} frames of one colour, as NaN is drawn (condition {self.blank[0]})")
        return wrong

    def to_dict(self) -> dict[str, Any]:
        """The entry of a manifest's `parity`."""
        (metric, tolerance), *also = self.gates
        return {
            "metric": metric,
            "tolerance": tolerance,
            "measured": self.measured[metric],
            "also": {name: {"tolerance": limit, "measured": self.measured[name]} for name, limit in also},
            "conditions": self.conditions,
            "batches": list(self.batches),
            "worst": self.worst,
            "differing": self.differing,
        }


def compare(draw: Draw, reference: Reference, batches: Mapping[int, int], gates: Sequence[Gate]) -> Comparison:
    """Draw reference frames again, {batch size: how many of them}, in batches of exactly that size, and compare.

    The rows that a last batch lacks are drawn twice and left out.
    """
    drawn = [draw(np.arange(-(-count // size) * size) % count, size)[:count] for size, count in batches.items()]
    rows = np.concatenate([np.arange(count) for count in batches.values()])
    found, expected = np.concatenate(drawn), reference.frames[rows]
    return Comparison(
        gates=gates,
        measured={name: METRICS[name].measure(found, expected) for name, _ in gates},
        conditions=len(set(rows.tolist())),
        batches=list(batches),
        worst=int(rows[squared_errors(found, expected).argmax()]),
        differing=float(np.mean(found != expected)),
        blank=[int(row) for row in rows[_flat(found) & ~_flat(expected)]],
    )


def gates_of(precision: str | None, parity: Mapping[str, Any] | None = None) -> list[Gate]:
    """What a file of that precision must reach; the metric and tolerance of its `parity` come first, where given.

    ValueError for a metric that isn't known, or a tolerance that is no number from 0 to 255.
    """
    usual = list(GATES.get(str(precision), GATES["fp32"]))
    if not parity or "metric" not in parity:
        return usual
    metric: Any = parity["metric"]
    tolerance: Any = parity.get("tolerance")
    if metric not in METRICS or type(tolerance) not in (int, float) or not 0 <= tolerance <= PEAK:
        raise ValueError(f"parity by {metric!r} within {tolerance!r}, expected {', '.join(METRICS)}")
    return [(metric, tolerance), *((name, limit) for name, limit in usual[1:] if name != metric)]


def read_reference(folder: Path, manifest: Manifest) -> Reference:
    """Read `reference.npz`; Refused where it isn't what the manifest describes."""
    content = open_checked(folder, manifest, REFERENCE)
    fix = FIX.format(folder=folder)
    channels, height, width = manifest.image
    most = MOST * (channels * height * width + 4 * manifest.schema.width + HEADERS)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > most:
            raise ValueError(f"unpacks to {unpacked} bytes, expected {most} at most")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            conditions, seed, frames = arrays["conditions"], arrays["seed"], arrays["frames"]
    except (ValueError, KeyError, OSError, EOFError, MemoryError, zipfile.BadZipFile, NotImplementedError) as error:
        raise Refused(f"{folder / REFERENCE}: not readable ({error}); {fix}") from error
    found = [(conditions.dtype, conditions.shape), (frames.dtype, frames.shape), (seed.dtype, seed.shape)]
    good = conditions.dtype == np.float32 and conditions.shape[1:] == (manifest.schema.width,)
    good = good and frames.dtype == np.uint8 and frames.shape[1:] == (height, width, channels)
    good = good and seed.shape == () and seed.dtype.kind in "iu" and 0 < len(frames) <= len(conditions)
    if not good:
        expected = f"float32 [N, {manifest.schema.width}], uint8 [N, {height}, {width}, {channels}] and one integer"
        raise Refused(f"{folder / REFERENCE}: holds {found}, expected {expected}; {fix}")
    return Reference(conditions[: len(frames)], check_seed(int(seed)), frames)


def _flat(frames: Frames) -> npt.NDArray[np.bool_]:
    rows = frames.reshape(len(frames), -1)
    return np.asarray(rows.max(axis=1) == rows.min(axis=1))
