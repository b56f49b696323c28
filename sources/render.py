"""Render labelled frames of drivers by path tracing into a folder of shards that training reads.

    python -m sources.render build/cabin128 -n 20224

Each shard holds 256 frames and appears whole; the same command goes on where it stopped, and a larger -n extends a
finished folder. A frame depends on seed and index alone, whatever the number of workers.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from contract.cli import Parser, integer
from contract.cores import cores
from contract.errors import Refused, Unavailable, UsageError, run_command
from contract.files import write_whole
from contract.locks import lock_folder
from contract.progress import progress_bar, write_beside
from contract.schemas import CABIN
from sources.cabin.landmarks import KIND
from sources.shards import ShardDescription, ShardWriter, read_conditions

if TYPE_CHECKING:
    from sources.cabin.driver import Batch
    from sources.cabin.settings import Asked, Settings

PROGRAM = "sources.render"
EXAMPLE = """example:
  python -m sources.render build/cabin128 -n 20224 --size 128
  python -m sources.render build/heldout128 -n 2048 --domain held-out --seed 1
  python -m sources.render build/rerendered128 -n 2048 --domain held-out --seed 11 --like build/heldout128
"""
SHARD = 256


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    from sources.cabin.domains import DOMAINS

    parser = Parser(prog=f"python -m {PROGRAM}", description=__doc__ or "", epilog=EXAMPLE)
    parser.add_argument("folder", type=Path, metavar="DIR", help="new, empty, or the same run's")
    parser.add_argument("-n", type=integer(1, 10**7), required=True, help=f"frames, rounded up to {SHARD}s")
    parser.add_argument("--size", type=integer(16, 1024), default=128, help="pixels of an edge (128)")
    parser.add_argument("--domain", choices=sorted(DOMAINS), default="cabin", help="people, cameras and cars (cabin)")
    parser.add_argument("--seed", type=integer(0, 2**63 - 1), default=0, help="of the run (0)")
    parser.add_argument("--workers", type=integer(1, 256), default=cores(), help="processes (all cores)")
    parser.add_argument("--samples", type=integer(1, 4096), help="paths a pixel off the face (4 denoised, 16 plain)")
    parser.add_argument("--like", type=Path, metavar="DIR", help="other people under the conditions of these frames")
    parser.add_argument(
        "--spread", type=integer(1, 10**7), metavar="K", help="of --like: K of its conditions evenly apart, in turn"
    )
    parser.add_argument(
        "--depth-and-masks", action="store_true", help="write layers-NNNNN.npz beside each shard: depth, classes"
    )
    args = parser.parse_args(argv)
    if args.spread and not args.like:
        raise UsageError("--spread: of the conditions of --like DIR, which is missing")
    return args


def run(args: argparse.Namespace) -> int:
    """Render what is missing; returns the exit status."""
    try:
        from sources.cabin.driver import check_installed
        from sources.cabin.settings import Settings
    except ImportError as error:
        raise Unavailable(f"{error.name or error} isn't installed; run: pip install '.[render]'") from error
    check_installed(_report)
    asked = _asked(args, -(-args.n // SHARD) * SHARD) if args.like else None
    settings = Settings(args.domain, args.size, args.seed, args.samples, args.depth_and_masks, asked=asked)
    with lock_folder(args.folder):
        frames = _render_missing(ShardWriter(args.folder, describe(settings)), settings, args.n, args.workers)
    print(f"{args.folder}: {frames} frames of {args.size} px")
    return 0


def _render_missing(writer: ShardWriter, settings: Settings, count: int, workers: int) -> int:
    """Render the shards that `count` frames still lack; returns how many frames the folder then holds of them."""
    from sources.cabin.workers import run as work

    missing = list(writer.missing(count))
    total = -(-count // SHARD) * SHARD
    jobs = [job for number in missing for job in _sittings(writer.indices(number))]
    done: dict[int, dict[int, Batch]] = {}
    with progress_bar(total=total, initial=total - len(missing) * SHARD, unit="frame", smoothing=0.05) as bar:
        for job, batch in work(jobs, settings, workers, _report):
            number = job.indices[0] // SHARD
            parts = done.setdefault(number, {})
            parts[job.number] = batch
            bar.update(len(job.indices))
            if sum(len(part.subjects) for part in parts.values()) == SHARD:
                batches = [parts[key] for key in sorted(parts)]
                if settings.layers:
                    _write_layers(writer.folder / f"layers-{number:05d}.npz", batches)
                writer.write(number, arrays(batches, settings.domain))
                del done[number]
    return total


def _asked(args: argparse.Namespace, frames: int) -> Asked:
    """The conditions of a folder's first frames, or some evenly apart.

    Refused where it has fewer, or no such ones, or where whoever it shows under one of them would be shown again.
    """
    from sources.cabin.domains import DOMAINS
    from sources.cabin.driver import sitters
    from sources.cabin.settings import Asked

    folder, spread = args.like, args.spread
    source, conditions, people = read_conditions(folder)
    wanted = spread or frames
    if not source.schema.encodes_like(CABIN):
        other = f"its schema {source.schema.name!r} encodes conditions otherwise than this version's {CABIN.name!r}"
        raise Refused(f"{folder}: {other}; render its frames again")
    if len(conditions) < wanted:
        raise Refused(f"{folder}: {len(conditions)} frames, {wanted} conditions are asked for; lower -n or --spread")
    rows = np.arange(wanted) * len(conditions) // wanted if spread else np.arange(wanted)
    domain, places = DOMAINS[args.domain], np.arange(frames)
    if same := int((people[rows[places % wanted]] == domain.key(sitters(domain, args.seed, places))).sum()):
        raise Refused(f"{folder}: shows the same person under {same} of {frames} conditions; give another --seed")
    origin = dict(source.origin) | ({"spread": spread, "of": len(conditions)} if spread else {})
    return Asked(conditions[rows], origin)


def describe(settings: Any) -> ShardDescription:
    """What a folder of frames of these settings is: enough to render it again."""
    from sources.cabin.driver import origin

    return ShardDescription(CABIN, KIND, SHARD, origin(settings))


def arrays(batches: Sequence[Any], domain: str) -> dict[str, npt.NDArray[Any]]:
    """The columns of a shard, from batches in the order of their frames."""
    from sources.cabin.domains import DOMAINS

    hidden = [[name in names for name in CABIN.names] for batch in batches for names in batch.hidden]
    return {
        "frames": np.concatenate([batch.frames for batch in batches]),
        "conditions": np.concatenate([CABIN.encode(batch.conditions) for batch in batches]),
        "points": np.concatenate([batch.landmarks for batch in batches]),
        "hidden": np.array(hidden, dtype=bool),
        "subjects": np.concatenate([DOMAINS[domain].key(batch.subjects) for batch in batches]),
    }


def _write_layers(path: Path, batches: Sequence[Any]) -> None:
    layers = [layer for batch in batches for layer in batch.layers]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        depth=np.stack([layer.depth for layer in layers]).astype(np.float16),
        classes=np.stack([layer.classes for layer in layers]),
    )
    write_whole(path, content.getvalue())


def _sittings(indices: range) -> list[Any]:
    """The jobs of one shard: one for each sitting."""
    from sources.cabin.driver import MOMENTS
    from sources.cabin.workers import Job

    return [Job(first // MOMENTS, tuple(range(first, first + MOMENTS))) for first in indices[::MOMENTS]]


def _report(line: str) -> None:
    write_beside(f"{PROGRAM}: {line}")


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(PROGRAM, lambda: run(parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
