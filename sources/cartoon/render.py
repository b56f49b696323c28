"""Render labelled frames of drivers into a folder of shards that training reads.

    python -m sources.cartoon.render build/cabin64 -n 49152 --size 64

The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from contract.cli import Parser, integer
from contract.errors import UsageError, run_command
from contract.schemas import CABIN
from sources.base import Landmarks
from sources.cartoon.cabin import LANDMARKS, Cabin, frames_per_batch
from sources.cartoon.domains import DOMAINS
from sources.shards import ShardDescription, ShardWriter

SHARD = 1024

LANDMARK_KIND = Landmarks(
    LANDMARKS,
    mirror=tuple((name, name.replace("left", "right")) for name in LANDMARKS if "left" in name),
    eyes=tuple(name for name in LANDMARKS if name.startswith("eye")),
)


def render(folder: Path, count: int, size: int, seed: int, domain: str) -> int:
    """Render `count` frames (rounded up to whole shards) into `folder`; returns how many they are."""
    origin = {"renderer": "cartoon", "pixels": size, "seed": seed, "domain": asdict(DOMAINS[domain])}
    writer = ShardWriter(folder, ShardDescription(CABIN, LANDMARK_KIND, SHARD, origin))
    cabin, missing = Cabin(size, DOMAINS[domain]), list(writer.missing(count))
    total = -(-count // SHARD) * SHARD
    with tqdm(total=total, initial=total - len(missing) * SHARD, unit="frame", disable=None) as progress:
        for number in missing:
            writer.write(number, _rendered(cabin, seed, writer.indices(number), progress))
    return total


def _rendered(cabin: Cabin, seed: int, indices: range, progress: Any) -> dict[str, Any]:
    step, batches = frames_per_batch(cabin.size), []
    for start in range(0, len(indices), step):
        batches.append(cabin.render(seed, indices[start : start + step]))
        progress.update(len(batches[-1].frames))
    hidden = np.array([[name in names for name in CABIN.names] for batch in batches for names in batch.hidden])
    return {
        "frames": np.concatenate([batch.frames for batch in batches]),
        "conditions": np.concatenate([CABIN.encode(batch.conditions) for batch in batches]),
        "points": np.concatenate([batch.landmarks for batch in batches]),
        "hidden": hidden,
        "subjects": np.concatenate([batch.subjects for batch in batches]),
    }


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m sources.cartoon.render",
        description="Render driver frames with exact labels into a folder of shards.",
        epilog="example: python -m sources.cartoon.render build/cabin64 -n 49152 --size 64",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("-n", type=integer(1, 10**8), default=49_152, help="frames, rounded up to 1024s (49152)")
    parser.add_argument("--size", type=integer(16, 512), default=64, help="pixels of an edge (64)")
    parser.add_argument("--seed", type=integer(0, 2**63 - 1), default=0)
    parser.add_argument("--domain", choices=sorted(DOMAINS), default="cabin")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    if args.size % 16:
        raise UsageError(f"--size {args.size}: expected a multiple of 16")
    total = render(args.folder, args.n, args.size, args.seed, args.domain)
    print(f"{args.folder}: {total} frames of {args.size} px")
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command("sources.cartoon.render", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
