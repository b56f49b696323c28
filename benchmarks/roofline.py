"""How fast a bundle could be at best on devices that aren't here: predictions, from its graph and published figures.

    python -m benchmarks.roofline build/bundle --batch 1 8 32
    python -m benchmarks.roofline build/bundle --check            # the same method, checked on this machine

Each layer takes at least the time of its arithmetic at the device's dense peak and of its bytes at the device's
memory bandwidth, whichever is longer (Williams et al. 2009, "Roofline"). That is a lower bound of a step's latency:
launches, cold caches, small layers that fill a fraction of a GPU and clocks below the published ones all add to it.
There are two bounds: `moved`, in which every tensor goes through memory, and `fused`, in which only weights and the
step's own inputs and outputs do, as in an engine that keeps activations in its caches.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.layers import Layer, read_layers
from contract.bundle import Manifest, read_manifest
from contract.cli import Parser, integer
from contract.errors import Refused, run_command

EXAMPLE = "example: python -m benchmarks.roofline build/bundle --batch 1 8 --json"

BYTES = {"fp32": 4.0, "fp16": 2.0, "int8": 1.0}

SMALLEST = 1000
"""Operations of the smallest layer that --layers lists."""

ENDS = 2
"""A step's image goes in and comes out in float32, and once more as bytes."""


@dataclass(frozen=True)
class Device:
    """Published peaks: dense, without sparsity."""

    name: str
    tera: dict[str, float]
    """Tera-operations a second by precision; what is missing isn't offered."""
    gigabytes: float
    """Of memory bandwidth a second."""
    source: str


DEVICES = (
    Device("Jetson Orin Nano 8GB", {"fp32": 1.3, "fp16": 10.0, "int8": 20.0}, 68.0, "NVIDIA data sheet, 15 W mode"),
    Device("Jetson Orin NX 16GB", {"fp32": 1.9, "fp16": 15.0, "int8": 30.0}, 102.4, "NVIDIA data sheet, GPU alone"),
    Device("Jetson AGX Orin 64GB", {"fp32": 5.3, "fp16": 42.5, "int8": 85.0}, 204.8, "NVIDIA data sheet, GPU alone"),
    Device("Jetson AGX Thor T5000", {"fp16": 258.0, "int8": 517.0}, 273.0, "half of NVIDIA's figures with sparsity"),
    Device(
        "DRIVE AGX Orin", {"fp32": 5.2, "fp16": 41.5, "int8": 83.0}, 204.8, "half of NVIDIA's 167 TOPS with sparsity"
    ),
    Device("RTX 4060", {"fp32": 15.1, "fp16": 60.5, "int8": 121.0}, 272.0, "NVIDIA Ada whitepaper"),
    Device("RTX 4090", {"fp32": 82.6, "fp16": 330.3, "int8": 660.6}, 1008.0, "NVIDIA Ada whitepaper"),
    Device("H200 SXM", {"fp32": 67.0, "fp16": 989.5, "int8": 1979.0}, 4800.0, "NVIDIA data sheet"),
)


@dataclass(frozen=True)
class Bound:
    """The least time of one step of a batch."""

    fused: float
    moved: float
    """Seconds."""
    bound_by: str
    """What limits the fused one: `arithmetic` or `memory`."""


def bound(layers: Sequence[Layer], tera: float, gigabytes: float, size: float, ends: float) -> Bound:
    """The bounds of a step; `size` bytes a number, `ends` bytes of its inputs and outputs."""
    arithmetic = [layer.operations / (tera * 1e12) for layer in layers]
    memory = [layer.bytes(size, size) / (gigabytes * 1e9) for layer in layers]
    moved = sum(max(pair) for pair in zip(arithmetic, memory, strict=True))
    weights = [layer.weights * size / (gigabytes * 1e9) for layer in layers]
    inside = sum(max(pair) for pair in zip(arithmetic, weights, strict=True))
    kind = "memory" if sum(weights) > sum(arithmetic) else "arithmetic"
    return Bound(inside + ends / (gigabytes * 1e9), moved, kind)


def predict(bundle: Path, batches: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each device, precision and batch."""
    manifest = _manifest(bundle)
    rows = []
    for batch in batches:
        layers = read_layers(bundle / "step.fp32.onnx", batch)
        for device in DEVICES:
            for precision, tera in device.tera.items():
                found = bound(layers, tera, device.gigabytes, BYTES[precision], _ends(manifest, batch))
                seconds = found.fused * manifest.sampler.steps
                rows.append(
                    {
                        "device": device.name,
                        "precision": precision,
                        "batch": batch,
                        "step_ms": found.fused * 1e3,
                        "step_ms_moved": found.moved * 1e3,
                        "frames_per_second": batch / seconds,
                        "bound_by": found.bound_by,
                        "prediction": True,
                        "source": device.source,
                    }
                )
    return rows


def check(bundle: Path, batches: Sequence[int]) -> list[dict[str, Any]]:
    """The same bounds from this machine's own measured peaks, beside what the runtime takes here in fp32."""
    from benchmarks.fixtures import cpu_backend
    from benchmarks.machine_peak import bytes_per_second, matrix_product_rates
    from runtime.backends.registry import Request, open_backend

    manifest = _manifest(bundle)
    rates, bandwidth = matrix_product_rates(), bytes_per_second()
    peak = max(rates.values())
    rows = []
    for batch in batches:
        backend, _ = open_backend(bundle, manifest, Request(cpu_backend(), "fp32", batch))
        layers = read_layers(bundle / "step.fp32.onnx", batch)
        found = bound(layers, peak / 1e12, bandwidth / 1e9, 4.0, _ends(manifest, batch))
        x = np.zeros((batch, *manifest.image), np.float32)
        condition = np.zeros((batch, manifest.schema.width), np.float32)
        taken = []
        for _ in range(12):
            started = time.perf_counter()
            backend.sample(x, condition)
            taken.append((time.perf_counter() - started) / manifest.sampler.steps)
        backend.close()
        measured = float(np.median(taken[2:]))
        rows.append(
            {
                "device": "this machine",
                "precision": "fp32",
                "batch": batch,
                "gigaflop": sum(layer.operations for layer in layers) / 1e9,
                "step_ms": found.fused * 1e3,
                "step_ms_moved": found.moved * 1e3,
                "measured_step_ms": measured * 1e3,
                "share_of_bound": found.fused / measured,
                "peak_gflops": peak / 1e9,
                "gigabytes_per_second": bandwidth / 1e9,
                "prediction": False,
            }
        )
    return rows


def _manifest(bundle: Path) -> Manifest:
    manifest = read_manifest(bundle)
    if "step.fp32.onnx" not in manifest.files:
        raise Refused(f"{bundle}: no step.fp32.onnx; export it: python -m export CHECKPOINT.pt -o {bundle}")
    return manifest


def _ends(manifest: Manifest, batch: int) -> float:
    channels, height, width = manifest.image
    return float(batch * channels * height * width * (ENDS * 4 + 1))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.roofline",
        description="Lower bounds of a step's latency on devices that aren't here. Predictions, not measurements.",
        epilog=EXAMPLE,
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--batch", type=integer(1, 4096), nargs="+", default=[1, 8, 32], metavar="B", help="(1 8 32)")
    parser.add_argument("--check", action="store_true", help="hold the method against this machine instead")
    parser.add_argument("--layers", action="store_true", help="every layer's operations, bytes and intensity instead")
    parser.add_argument("--json", action="store_true", help="the same for machines")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    if args.layers:
        _manifest(args.bundle)
        layers = read_layers(args.bundle / "step.fp32.onnx", args.batch[0])
        rows = [_describe(layer) for layer in layers if layer.operations >= SMALLEST]
    else:
        rows = check(args.bundle, args.batch) if args.check else predict(args.bundle, args.batch)
    if args.json:
        print(json.dumps(rows))
        return 0
    if not args.check and not args.layers:
        print("Predictions: no figure below was measured on the device. Dense published peaks, latency at its least.")
    keys = [key for key in rows[0] if key not in ("prediction", "source")]
    print(tabulate([[row[key] for key in keys] for row in rows], keys, "plain", floatfmt=".4g"))
    return 0


def _describe(layer: Layer) -> dict[str, Any]:
    moved = layer.bytes(4.0, 4.0)
    return {
        "layer": layer.name,
        "kind": layer.kind,
        "mega_operations": layer.operations / 1e6,
        "fp32_kilobytes": moved / 1e3,
        "operations_per_byte": layer.operations / moved if moved else 0.0,
    }


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("benchmarks.roofline", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
