"""The runtime on a GPU beside PyTorch and diffusers with the same weights: frames a second, and milliseconds a batch.

    python -m benchmarks.gpu_peers build/bundle checkpoints/cabin128.pt --batch 1 32 256
    python -m benchmarks.gpu_peers build/bundle checkpoints/cabin128.pt --json -o build/gpu.json

The bundle is exported with `--precision fp32 fp16 int8`. All ways draw the same noise under the same conditions, and
only those count whose frames, drawn once more after they were timed, are those that the bundle draws in fp32 on the
CPU: within one level in fp32 and TF32, 30 dB in lower precisions. `engine_ms` runs from noise in the host's memory to
frames in the host's memory; `frames_per_second` includes drawing the noise.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tabulate import tabulate

from benchmarks.competitors import Frames, difference, same
from benchmarks.gpu_ways import WAYS, Case, TimedDraw, Way
from benchmarks.machine import machine
from contract.bundle import Manifest, read_manifest
from contract.cli import Parser, integer
from contract.cores import cores
from contract.errors import EdgeError, Refused, Unavailable, UsageError, run_command
from contract.files import write_whole
from contract.gpu import first_gpu
from contract.noise import initial_noises
from runtime import Generator
from runtime.backends.registry import BACKENDS

EXAMPLE = "example: python -m benchmarks.gpu_peers build/bundle checkpoints/cabin128.pt --batch 1 32 256 -o gpu.json"

SECONDS, FEWEST, MOST = 0.6, 5, 60
"""Of timed draws for each way and batch, and how many at least and at most."""

WARM_UP = 12
"""Draws before that: the runtime measures plain launches and CUDA graphs in its first ten, and keeps the faster."""

CHECKED, WARM, TIMED = 1, 2, 100
"""Seeds: of the frames that are compared, and the first ones of warm-up and of timed draws."""

DRIVER_VERSION = Path("/sys/module/nvidia/version")

MAX_REASON = 300
"""Characters that are kept of an error."""


def measure(case: Case, batch: int, seconds: float = SECONDS, ways: Sequence[Way] | None = None) -> Iterator[Any]:
    """A row for each way at this batch, as soon as it is measured: a dict for JSON."""
    with Generator.open(case.bundle, backend="cpu", precision="fp32", batch=batch, annotator="off") as generator:
        vectors = generator.encode([{}] * batch)
        expected = generator.generate(vectors, seed=CHECKED)
    for way in WAYS.values() if ways is None else ways:
        yield {"name": way.name, "precision": way.precision, "batch": batch} | _row(
            way, case, vectors, expected, seconds
        )


def _row(way: Way, case: Case, vectors: npt.NDArray[np.float32], expected: Frames, seconds: float) -> dict[str, Any]:
    batch, started = len(vectors), time.perf_counter()
    try:
        with way.open(case, batch) as opened:
            opened.draw(vectors, CHECKED)
            first = time.perf_counter() - started
            for number in range(WARM_UP):
                opened.draw(vectors, WARM + number)
            whole, engine = _time_draws(opened.draw, vectors, seconds)
            frames, _ = opened.draw(vectors, CHECKED)
            details = opened.details()
    except (Unavailable, ImportError) as error:
        return {"not_measured": _reason(error)}
    except Exception as error:  # those of compilers and drivers share no base class, and one must not cost the others
        return {"failed": f"{type(error).__name__}: {_reason(error)}"}
    apart = difference(frames, expected)
    if not same(way.precision, apart):
        return {"difference": apart, "failed": "draws other frames than the bundle in fp32 on the CPU"}
    return {
        "frames_per_second": batch / statistics.median(whole),
        "engine_frames_per_second": batch / statistics.median(engine),
        "engine_ms": 1e3 * statistics.median(engine),
        "samples": len(whole),
        "first_batch_s": first,
        "difference": apart,
        "details": details,
    }


def _time_draws(draw: TimedDraw, vectors: npt.NDArray[np.float32], seconds: float) -> tuple[list[float], list[float]]:
    """Seconds of each draw as a whole, and without its noise."""
    whole: list[float] = []
    engine: list[float] = []
    while len(whole) < FEWEST or (sum(whole) < seconds and len(whole) < MOST):
        started = time.perf_counter()
        _, inside = draw(vectors, TIMED + len(whole))
        whole.append(time.perf_counter() - started)
        engine.append(inside)
    return whole, engine


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:MAX_REASON]


def noise_rate(manifest: Manifest, batch: int) -> float:
    """Frames a second for which the host draws noise with all cores, the best of FEWEST draws."""
    taken = []
    for number in range(FEWEST):
        started = time.perf_counter()
        initial_noises(TIMED + number, range(batch), tuple(manifest.image), threads=cores())
        taken.append(time.perf_counter() - started)
    return batch / min(taken)


def check_gpu() -> None:
    """Unavailable without a GPU that ONNX Runtime and torch can use."""
    try:
        BACKENDS["cuda"].check()
    except Unavailable as error:
        raise Unavailable(f"{error}; this benchmark needs an NVIDIA GPU, `pytest benchmarks` measures a CPU") from None
    import torch  # only now: it takes seconds

    if not torch.cuda.is_available():
        raise Unavailable(f"torch {torch.__version__} finds no GPU; install a build of it for CUDA")


def check_case(case: Case) -> Manifest:
    """The bundle's manifest; Refused where it wasn't exported from that checkpoint or its ways can't be compared."""
    from models.checkpoint import read_checkpoint

    manifest, checkpoint = read_manifest(case.bundle), read_checkpoint(case.checkpoint)
    if manifest.source.get("checkpoint") != checkpoint.sha256:
        raise Refused(
            f"{case.bundle}: not exported from {case.checkpoint}; run: python -m export {case.checkpoint} "
            f"-o {case.bundle} --precision fp32 fp16 int8"
        )
    if manifest.latent:
        raise Refused(f"{case.bundle}: its steps work on latents; expected a bundle whose steps work on images")
    return manifest


def report(case: Case, manifest: Manifest, batches: Sequence[int], rows: Sequence[Any]) -> dict[str, Any]:
    """Everything that was measured, and on what."""
    device = first_gpu()
    driver = DRIVER_VERSION.read_text().strip() if DRIVER_VERSION.exists() else None
    gpu = {"name": device.name, "sm": device.sm, "multiprocessors": device.multiprocessors, "driver": driver}
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine() | {"gpu": gpu},
        "checkpoint": manifest.source["checkpoint"],
        "image": list(manifest.image),
        "steps": manifest.sampler.steps,
        "noise_frames_per_second": {str(batch): noise_rate(manifest, batch) for batch in batches},
        "rows": list(rows),
    }


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m benchmarks.gpu_peers",
        description="The runtime on this machine's GPU beside PyTorch and diffusers with the same weights.",
        epilog=EXAMPLE,
    )
    parser.add_argument("bundle", type=Path, help="exported with --precision fp32 fp16 int8")
    parser.add_argument("checkpoint", type=Path, help="that the bundle was exported from")
    parser.add_argument(
        "--batch", type=integer(1, 4096), nargs="+", default=[1, 32, 256], metavar="B", help="(1 32 256)"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of timed draws a row ({SECONDS})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write that object to a file, too")
    args = parser.parse_args(argv)
    if not 0.0 < args.seconds <= 60.0:
        raise UsageError(f"--seconds {args.seconds:g}: expected more than 0 and at most 60")
    return args


def run(args: argparse.Namespace) -> int:
    check_gpu()
    case = Case(args.bundle, args.checkpoint)
    manifest, rows = check_case(case), []
    for batch in args.batch:
        for row in measure(case, batch, args.seconds):
            print(_line(row), file=sys.stderr, flush=True)
            rows.append(row)
        found = report(case, manifest, args.batch, rows)
        if args.output:  # a later batch may bring the process down
            write_whole(args.output, json.dumps(found, indent=1).encode() + b"\n")
    print(json.dumps(found) if args.json else table(rows))
    failed = [row for row in rows if "failed" in row]
    if failed:
        raise EdgeError(f"{len(failed)} of {len(rows)} rows failed, the first: {_line(failed[0])}")
    return 0


def table(rows: Sequence[Any]) -> str:
    """The measured rows, the fastest of each batch first."""
    keys = ("batch", "name", "engine_ms", "engine_frames_per_second", "frames_per_second")
    measured = sorted((row for row in rows if "engine_ms" in row), key=lambda row: (row["batch"], row["engine_ms"]))
    cells = [[row[key] for key in keys] + [row["difference"]["psnr_db"]] for row in measured]
    return tabulate(cells, [*keys, "psnr_db"], "plain", floatfmt=".4g")


def _line(row: Any) -> str:
    reason = row.get("failed") or row.get("not_measured")
    what = f"{row['name']}, batch {row['batch']}"
    return f"{what}: {reason}" if reason else f"{what}: {row['engine_ms']:.3f} ms"


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("benchmarks.gpu_peers", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
