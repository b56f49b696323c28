"""Render a labelled set of driver frames by path tracing.

    python -m sources.render build/cabin128 -n 20480 --size 128

The folder gets `shard-NNNNN.npz` (frames, conditions, landmarks, hidden, subjects) of 256 frames each, and
`rendered.json`. A frame depends on seed and index alone, whatever the number of workers. Each shard appears
whole; the same command goes on where it stopped, and a larger -n extends a finished set.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from contract.arguments import Parser, integer
from contract.errors import run_command

PROGRAM = "python -m sources.render"
EXAMPLE = """example:
  python -m sources.render build/cabin128 -n 20480 --size 128
  python -m sources.render build/held-out128 -n 4096 --domain held-out
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    from sources.cabin.domains import DOMAINS

    parser = Parser(prog=PROGRAM, description=__doc__ or "", epilog=EXAMPLE)
    parser.add_argument("folder", type=Path, metavar="DIR", help="new, empty, or the same run's")
    parser.add_argument("-n", type=integer(1, 10_000_000), required=True, help="number of frames")
    parser.add_argument("--size", type=integer(16, 1024), default=128, help="side of a frame in pixels (default: 128)")
    parser.add_argument(
        "--domain", choices=sorted(DOMAINS), default="cabin", help="people, cameras and cars (default: cabin)"
    )
    parser.add_argument("--seed", type=integer(0, 2**64 - 1), default=0, help="of the run (default: 0)")
    parser.add_argument(
        "--workers", type=integer(1, 256), default=os.cpu_count() or 1, help="processes (default: all cores)"
    )
    parser.add_argument("--samples", type=integer(1, 4096), help="paths a pixel (default: 9 denoised, 36 plain)")
    parser.add_argument("--depth-and-masks", action="store_true", help="add depth and a segmentation of each frame")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Render what is missing; returns the exit status."""
    from sources.cabin.driver import Batch, describe
    from sources.cabin.shards import SHARD, Folder
    from sources.cabin.workers import Settings
    from sources.cabin.workers import run as work

    settings = Settings(args.domain, args.size, args.seed, args.samples, args.depth_and_masks)
    folder = Folder.open(args.folder, describe(settings))
    missing = [
        number for number in range(-(-args.n // SHARD)) if not folder.holds(number, min(SHARD, args.n - number * SHARD))
    ]
    jobs = [job for number in missing for job in shard_jobs(number, args.n)]
    frames = sum(len(job.indices) for job in jobs)
    done: dict[int, dict[int, Batch]] = {}
    with tqdm(
        total=args.n, initial=args.n - frames, unit="frame", disable=None, smoothing=0.05, mininterval=1.0
    ) as bar:
        for job, batch in work(
            jobs, settings, args.workers, lambda line: tqdm.write(f"{PROGRAM}: {line}", file=sys.stderr)
        ):
            number = job.indices[0] // SHARD
            parts = done.setdefault(number, {})
            parts[job.number] = batch
            bar.update(len(job.indices))
            if sum(len(part.subjects) for part in parts.values()) == min(SHARD, args.n - number * SHARD):
                folder.write(number, [parts[key] for key in sorted(parts)])
                del done[number]
    return 0


def shard_jobs(number: int, count: int) -> list[Any]:
    """The jobs of one shard of a run of `count` frames: one for each sitting."""
    from sources.cabin.driver import MOMENTS
    from sources.cabin.shards import SHARD
    from sources.cabin.workers import Job

    start, stop = number * SHARD, min((number + 1) * SHARD, count)
    return [
        Job(first // MOMENTS, tuple(range(first, min(first + MOMENTS, stop)))) for first in range(start, stop, MOMENTS)
    ]


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROGRAM, lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
