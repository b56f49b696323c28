"""From raw measurements to rows, ratios and a verdict.

rows = table(processes, cold)                    # one for each contender and batch
found = ratios(rows, ...)                        # {"fp32_over_best_torch_fp32": {"value": 1.12, ...}, ...}
problems = regressions(found, baseline, about)   # empty where everything holds
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.competitors import CONTENDERS, same
from benchmarks.startup import BATCH as COLD_BATCH

ASKED = {
    "fp32_over_best_torch_fp32": 1.1,
    "int8_over_torch_compile_fp32": 3.0,
    "int8_over_openvino_int8": 1.05,
    "int8_over_fp32": None,
    "fp32_over_openvino_fp32": None,
    "fp32_over_onnxruntime_backend_fp32": None,
    "int8_over_onnxruntime_backend_int8": None,
    "fp32_over_diffusers_plain_onnx": None,
    "default_over_document_ddpm1000": 600.0,
    "default_over_document_ddpm1000_unguided": None,
    "generate_to_disk_over_network_only": 0.9,
    "generate_to_disk_annotated_over_network_only": None,
    "fp32_share_of_peak": 0.85,
}
"""What the project wants of each ratio; None where it is only told."""

FLOORS = {
    "int8_over_fp32": 1.0,
    "fp32_over_best_torch_fp32": 0.85,
    "default_over_document_ddpm1000": 300.0,
    "fp32_share_of_peak": 0.5,
}
"""What holds on any machine; everything else depends on its instructions and is held to this machine's baseline."""

SLACK = 0.80
"""A ratio may fall to this share of its baseline: two runs on a shared machine differ by up to 15 %."""

PERCENTILES = (50, 90, 95, 99)


def table(
    processes: Sequence[Sequence[Mapping[str, Any]]], cold: Mapping[str, Mapping[str, Any]], steps: int
) -> list[dict[str, Any]]:
    """A row for each contender and batch from the same rows of several processes."""
    rows = []
    for group in zip(*processes, strict=True):
        name, batch = group[0]["name"], group[0]["batch"]
        pooled = [second for row in group for second in row["seconds"]]
        medians = [statistics.median(row["seconds"]) for row in group]
        median = statistics.median(medians)
        latency = {f"p{p}": float(np.percentile(pooled, p) * 1e3) for p in PERCENTILES}
        joules = [row["joules"] / len(row["seconds"]) / batch for row in group if row["joules"] is not None]
        contender, known = CONTENDERS[name], cold.get(name, {}) if batch == COLD_BATCH else {}
        apart = max((row["difference"] for row in group), key=lambda found: (found["levels"], -found["psnr_db"]))
        rows.append(
            {
                "name": name,
                "precision": contender.precision,
                "batch": batch,
                "steps": steps,
                "frames_per_second": batch / median,
                "by_turn": [batch / seconds for row in group for seconds in row["turns"]],
                "latency_ms": latency,
                "step_ms": {key: value / steps for key, value in latency.items()},
                "samples": len(pooled),
                "spread": (max(medians) - min(medians)) / median,
                "difference": apart,
                "same_frames": same(contender, apart),
                "joules_per_frame": statistics.median(joules) if joules else None,
                "device_memory_mib": None,
                "copies_ms": None,
                **{key: known.get(key) for key in ("import_s", "load_s", "first_batch_s", "opened_mib", "peak_mib")},
            }
        )
    return rows


def speed(rows: Sequence[Mapping[str, Any]], name: str) -> dict[int, float]:
    """Frames a second of a contender by batch."""
    return {row["batch"]: row["frames_per_second"] for row in rows if row["name"] == name}


def over(rows: Sequence[Mapping[str, Any]], name: str, others: Sequence[str]) -> dict[str, Any] | None:
    """How much faster one is than the best of others at each batch that both sides have, and the geometric mean.

    The median of what each turn says, in which both drew one soon after the other: the machine may be another one in
    the next.
    """
    turns = {(row["name"], row["batch"]): row["by_turn"] for row in rows}
    by_batch = {}
    for batch in sorted(speed(rows, name)):
        rivals = {other: found[batch] for other in others if batch in (found := speed(rows, other))}
        if rivals:
            best = max(rivals, key=lambda other: rivals[other])
            pairs = zip(turns[name, batch], turns[best, batch], strict=True)
            by_batch[batch] = statistics.median(own / rival for own, rival in pairs)
    if not by_batch:
        return None
    return {"value": math.exp(statistics.fmean(math.log(r) for r in by_batch.values())), "by_batch": by_batch}


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Those that come out of the table of contenders alone."""
    compiled = ["torch compile", "torch compile channels-last", "torch compile frozen"]
    found = {
        "fp32_over_best_torch_fp32": over(rows, "ours fp32", [*compiled, "torch eager", "torch eager channels-last"]),
        "int8_over_torch_compile_fp32": over(rows, "ours int8", compiled),
        "int8_over_openvino_int8": over(rows, "ours int8", ["openvino int8", "openvino int8 streams"]),
        "int8_over_fp32": over(rows, "ours int8", ["ours fp32"]),
        "fp32_over_openvino_fp32": over(rows, "ours fp32", ["openvino fp32", "openvino fp32 streams"]),
        "fp32_over_onnxruntime_backend_fp32": over(rows, "ours fp32", ["ours onnxruntime fp32"]),
        "int8_over_onnxruntime_backend_int8": over(rows, "ours int8", ["ours onnxruntime int8"]),
        "fp32_over_diffusers_plain_onnx": over(rows, "ours fp32", ["diffusers plain ONNX"]),
    }
    return {name: ratio for name, ratio in found.items() if ratio is not None}


def regressions(found: Mapping[str, Mapping[str, Any]], baseline: Mapping[str, Any], cpu: str) -> list[str]:
    """What is slower than it may be: a line each. Another processor is held to the floors alone."""
    problems = [
        f"{name} is {found[name]['value']:.3g}, expected at least {floor:g} on any machine"
        for name, floor in FLOORS.items()
        if name in found and found[name]["value"] < floor
    ]
    if baseline.get("cpu") != cpu:
        return problems
    for name, before in baseline["ratios"].items():
        if name in found and found[name]["value"] < SLACK * before:
            problems.append(
                f"{name} is {found[name]['value']:.3g}, {before:.3g} in the baseline;"
                " where that is meant: pytest benchmarks --renew-baseline"
            )
    return problems
