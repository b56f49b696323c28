"""From raw measurements to rows, ratios and a verdict.

rows = table(processes, cold, steps=4)           # one for each contender and batch
found = ratios(rows)                             # {"fp32_over_best_torch_fp32": {"value": 1.12, ...}, ...}
problems = regressions(found, baseline, machine()) # empty where everything holds
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.competitors import CONTENDERS, same
from benchmarks.startup import BATCH as COLD_BATCH

COMPILED = ("torch compile", "torch compile channels-last", "torch compile frozen")

RIVALS = {
    "fp32_over_best_torch_fp32": ("ours fp32", (*COMPILED, "torch eager", "torch eager channels-last")),
    "int8_over_torch_compile_fp32": ("ours int8", COMPILED),
    "int8_over_openvino_int8": ("ours int8", ("openvino int8", "openvino int8 streams")),
    "int8_over_fp32": ("ours int8", ("ours fp32",)),
    "fp32_over_openvino_fp32": ("ours fp32", ("openvino fp32", "openvino fp32 streams")),
    "fp32_over_onnxruntime_backend_fp32": ("ours fp32", ("ours onnxruntime fp32",)),
    "int8_over_onnxruntime_backend_int8": ("ours int8", ("ours onnxruntime int8",)),
    "fp32_over_diffusers_plain_onnx": ("ours fp32", ("diffusers plain ONNX",)),
}
"""The ratios between contenders: whose frames a second, over those of the best of whom."""

MEASURED_APART = (
    "default_over_document_ddpm1000",
    "default_over_document_ddpm1000_unguided",
    "generate_to_disk_over_network_only",
    "generate_to_disk_annotated_over_network_only",
    "fp32_share_of_peak",
)
NAMES = (*RIVALS, *MEASURED_APART)
"""Every ratio, in the order of the report."""

GOALS = {
    "fp32_over_best_torch_fp32": 1.1,
    "int8_over_torch_compile_fp32": 3.0,
    "int8_over_openvino_int8": 1.05,
    "default_over_document_ddpm1000": 600.0,
    "generate_to_disk_over_network_only": 0.9,
    "fp32_share_of_peak": 0.85,
}
"""What the project wants of a ratio; the others are reported alone."""

FLOORS = {
    "int8_over_fp32": 1.0,
    "fp32_over_best_torch_fp32": 0.85,
    "default_over_document_ddpm1000": 300.0,
    "fp32_share_of_peak": 0.5,
}
"""What holds on any machine; everything else depends on its instructions and is compared with its own baseline."""

SLACK = 0.80
"""A ratio may fall to this share of its baseline: two runs on a shared machine differ by up to 15 %."""

PERCENTILES = (50, 90, 95, 99)
STARTUP = ("import_s", "load_s", "first_batch_s", "opened_mib", "peak_mib")


def table(
    processes: Sequence[Sequence[Mapping[str, Any]]], cold: Mapping[str, Mapping[str, Any]], steps: int
) -> list[dict[str, Any]]:
    """A row for each contender and batch from the same rows of several processes."""
    return [_row(group, cold, steps) for group in zip(*processes, strict=True)]


def _row(group: Sequence[Mapping[str, Any]], cold: Mapping[str, Mapping[str, Any]], steps: int) -> dict[str, Any]:
    name, batch = group[0]["name"], group[0]["batch"]
    pooled = [second for row in group for second in row["seconds"]]
    medians = [statistics.median(row["seconds"]) for row in group]
    median = statistics.median(medians)
    latency = {f"p{p}": _percentile(pooled, p) for p in PERCENTILES}
    joules = [row["joules"] / len(row["seconds"]) / batch for row in group if row["joules"] is not None]
    contender, started = CONTENDERS[name], cold.get(name, {}) if batch == COLD_BATCH else {}
    worst = max((row["difference"] for row in group), key=lambda apart: (apart["levels"], -apart["psnr_db"]))
    return {
        "name": name,
        "precision": contender.precision,
        "batch": batch,
        "steps": steps,
        "frames_per_second": batch / median,
        "by_turn": [batch / seconds for row in group for seconds in row["turns"]],
        "latency_ms": latency,
        "step_ms": {key: None if value is None else value / steps for key, value in latency.items()},
        "samples": len(pooled),
        "spread": (max(medians) - min(medians)) / median,
        "difference": worst,
        "same_frames": same(contender.precision, worst),
        "joules_per_frame": statistics.median(joules) if joules else None,
        **{key: started.get(key) for key in STARTUP},
    }


def _percentile(seconds: Sequence[float], p: int) -> float | None:
    """Milliseconds that p % of the draws stay below; None where there are too few to tell."""
    return float(np.percentile(seconds, p) * 1e3) if len(seconds) * (100 - p) >= 100 or p == 50 else None


def speed(rows: Sequence[Mapping[str, Any]], name: str) -> dict[int, float]:
    """Frames a second of a contender by batch."""
    return {row["batch"]: row["frames_per_second"] for row in rows if row["name"] == name}


def over(rows: Sequence[Mapping[str, Any]], name: str, others: Sequence[str]) -> dict[str, Any] | None:
    """How much faster one is than the best of others at each batch that both sides have, and the geometric mean.

    The median over turns, in each of which both drew one soon after the other: by the next turn the machine may have
    changed its speed.
    """
    turns = {(row["name"], row["batch"]): row["by_turn"] for row in rows}
    by_batch = {}
    for batch in sorted(speed(rows, name)):
        rivals = {other: found[batch] for other in others if batch in (found := speed(rows, other))}
        if rivals:
            best = max(rivals, key=lambda other: rivals[other])
            pairs = zip(turns[name, batch], turns[best, batch], strict=True)
            by_batch[batch] = statistics.median(own / rival for own, rival in pairs)
    return {"value": statistics.geometric_mean(by_batch.values()), "by_batch": by_batch} if by_batch else None


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The ratios between contenders, as far as both sides were measured."""
    found = {name: over(rows, own, others) for name, (own, others) in RIVALS.items()}
    return {name: ratio for name, ratio in found.items() if ratio is not None}


def regressions(
    found: Mapping[str, Mapping[str, Any]], baseline: Mapping[str, Any], machine: Mapping[str, Any]
) -> list[str]:
    """What is slower than it may be, a line each; another machine than the baseline's is held to the floors alone."""
    values = {name: ratio["value"] for name, ratio in found.items()}
    problems = [
        f"{name} is {values[name]:.3g}, expected at least {floor:g} on any machine"
        for name, floor in FLOORS.items()
        if values.get(name, math.inf) < floor
    ]
    before = baseline["ratios"] if all(baseline.get(key) == machine[key] for key in ("cpu", "cores")) else {}
    return problems + [
        f"{name} is {values[name]:.3g}, {usual:.3g} in the baseline; accept it with: pytest benchmarks --renew-baseline"
        for name, usual in before.items()
        if values.get(name, math.inf) < SLACK * usual
    ]
