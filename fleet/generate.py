"""Labelled frames from a bundle, drawn by many workers: the same dataset, byte for byte, as by one process.

    python -m fleet.generate bundle -o frames -n 100000                       # an embedded Ray on this machine
    python -m fleet.generate bundle -o frames -n 100000 --ray head:6379

The flags are those of `runtime.generate`. Workers draw and encode shards of consecutive frames, this process writes
them in order, and signs them, so that the key stays here; the same command on its own unfinished dataset resumes it,
whichever of the two commands began it. A worker that is lost is started again and its shards are drawn again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contract.bundle import MANIFEST, Manifest, read_manifest
from contract.cli import Parser, integer
from contract.cores import limit_cores
from contract.errors import UsageError, run_command
from fleet.cluster import Cluster, connect
from fleet.pool import CORES, Share, share_of, worker_pool
from fleet.run import Fleet, FleetResult
from fleet.worker import EngineSettings, read_files
from runtime.backends.registry import AUTO
from runtime.dataset_run import write_derived
from runtime.options import (
    DEFAULT_OUTPUT,
    add_options,
    check_images,
    check_options,
    make_plan,
    make_settings,
    open_signer,
)
from runtime.outputs.labels import check_labels
from runtime.outputs.writer import open_writer

PROGRAM = "fleet.generate"

SHARD = 512
"""Frames a shard: some seconds of work, some megabytes to send."""

EXAMPLES = """examples:
  python -m fleet.generate bundle -o frames -n 100000 --workers 4
  python -m fleet.generate bundle -o frames -n 1000000 --backend trt --ray head:6379"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog=f"python -m {PROGRAM}", description="Generate labelled frames on many machines.", epilog=EXAMPLES
    )
    add_options(parser)
    add = parser.add_argument
    add("--ray", metavar="ADDRESS", help="cluster to draw on (an embedded one on this machine)")
    add("--workers", type=integer(1, 10_000), metavar="N", help=f"engines (one a GPU, or one for {CORES} cores)")
    add("--shard", type=integer(1, 100_000), default=SHARD, metavar="N", help=f"frames drawn at a time ({SHARD})")
    add("--json", action="store_true", help="print a report as one JSON object")
    args = parser.parse_args(argv)
    check_options(args)
    if args.fps and not args.clip:
        raise UsageError("--fps: goes with --clip")
    if args.batch == AUTO:
        raise UsageError(f"--batch {AUTO}: one process measures that; give a number, or leave it out")
    args.output = args.output or DEFAULT_OUTPUT
    return args


def run(args: argparse.Namespace) -> int:
    started = time.perf_counter()
    manifest = read_manifest(args.bundle)
    plan, signer = make_plan(args, manifest.schema), open_signer(args)
    check_images(args, manifest.image)
    limit_cores(args.threads)
    with connect(args.ray) as cluster:
        share = share_of(cluster, args.backend, args.workers, args.threads)
        with worker_pool(cluster, _settings(args, manifest, share, cluster), share) as workers:
            fleet = Fleet(cluster, workers, plan)
            check_labels(args.labels_as, fleet.landmarks)
            writer = open_writer(args.output, fleet.description)
            result = fleet.write(writer, args.output, args.shard, signer)
    write_derived(args.output, plan, args.labels_as, args.video, signer)
    _report(args, result, share, time.perf_counter() - started)
    return 0


def _settings(args: argparse.Namespace, manifest: Manifest, share: Share, cluster: Cluster) -> EngineSettings:
    content = None if cluster.embedded else read_files(Path(args.bundle), [MANIFEST, *manifest.files])
    files = cluster.share(content) if content else None
    engine = (args.backend, args.precision, args.batch, args.annotator, args.state)
    return EngineSettings(
        str(Path(args.bundle).resolve()), manifest.digest, files, share.cores, make_settings(args), *engine
    )


def _report(args: argparse.Namespace, result: FleetResult, share: Share, seconds: float) -> None:
    description = result.description
    disagreeing = description.disagreeing
    figures: dict[str, Any] = {
        "output": args.output,
        "frames": description.count,
        "new": result.new,
        "seconds": round(seconds, 6),
        "drawing_seconds": round(result.seconds, 6),
        "frames_per_second": round(result.new / result.seconds, 3),
        "workers": share.workers,
        "cores_each": share.cpus,
        "gpus_each": share.gpus,
        "machines": result.machines,
        "workers_lost": result.losses,
        "backend": description.backend,
        "precision": description.precision,
        "agreeing": None if disagreeing is None else description.count - disagreeing,
        "rejected": description.rejected,
        "contact_sheet": str(result.contact_sheet) if result.contact_sheet else None,
    }
    if args.json:
        print(json.dumps(figures))
        return
    rate = f"{result.new} of them new, {figures['frames_per_second']:.1f} a second by {share.workers} workers"
    lost = f"; lost and replaced workers: {result.losses}" if result.losses else ""
    look = f"; look at {result.contact_sheet}" if result.contact_sheet else ""
    print(f"{args.output}: {description.count} frames, {rate}{lost}{look}")


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROGRAM, lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
