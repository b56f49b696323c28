"""Rendered frames kept on disk in shards, so that training reads them at memory speed.

    python -m training.data.cache build/cabin64 -n 49152 --size 64

A cache is a folder of `shard-NNNNN.npz` (frames, conditions, landmarks, hidden, subjects) and `cache.json`. Each
shard appears whole; the same command goes on where it stopped. Frames are those of `Cabin.render`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from contract.arguments import Parser, integer
from contract.conditions import Schema
from contract.errors import Refused, UsageError, run_command
from contract.files import parse_json, write_whole
from contract.schemas import CABIN
from training.data.cabin import LANDMARKS, Cabin, frames_per_batch
from training.data.driver import DOMAINS

FORMAT = "dms-edge/cache@1"
SHARD = 1024


@dataclass(frozen=True)
class Cached:
    """Every frame of a source in memory."""

    schema: Schema
    frames: npt.NDArray[np.uint8]
    """[N, H, W, 3]"""
    conditions: npt.NDArray[np.float32]
    """[N, schema.width], encoded"""
    landmarks: npt.NDArray[np.float32] | None
    """[N, L, 2] as shares of width and height, where the source knows them"""
    hidden: npt.NDArray[np.bool_]
    """[N, fields of the schema]: what the frame doesn't show"""
    subjects: npt.NDArray[np.int64] | None
    fingerprint: str
    """sha256 over the frames and conditions, for a checkpoint's lineage."""


def fingerprint(frames: npt.NDArray[np.uint8], conditions: npt.NDArray[np.float32]) -> str:
    digest = hashlib.sha256(frames.tobytes())
    digest.update(conditions.tobytes())
    return digest.hexdigest()


def read_cache(folder: Path) -> Cached:
    """All whole shards of a cache folder; Refused when there is none."""
    if not (folder / "cache.json").is_file():
        raise Refused(f"{folder}: no cache.json; render one with `python -m training.data.cache {folder}`")
    if read_json(folder / "cache.json").get("format") != FORMAT:
        raise Refused(f"{folder / 'cache.json'}: expected the format {FORMAT}; render the cache again")
    shards = sorted(folder.glob("shard-*.npz"))
    if not shards:
        raise Refused(f"{folder}: no shard; go on with `python -m training.data.cache {folder}`")
    columns: dict[str, list[Any]] = {}
    for shard in shards:
        try:
            with np.load(shard, allow_pickle=False) as arrays:
                for name in ("frames", "conditions", "landmarks", "hidden", "subjects"):
                    columns.setdefault(name, []).append(arrays[name])
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise Refused(
                f"{shard}: damaged; remove it, and `python -m training.data.cache` renders it again"
            ) from error
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Cached(CABIN, fingerprint=fingerprint(joined["frames"], joined["conditions"]), **joined)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; Refused where it holds something else."""
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise Refused(f"{path}: {error}; expected a JSON object") from error
    if not isinstance(content, dict):
        raise Refused(f"{path}: a {type(content).__name__}; expected a JSON object")
    return content


def write_cache(folder: Path, count: int, size: int, seed: int, domain: str) -> int:
    """Render `count` frames (rounded up to whole shards) into `folder`; returns how many they are."""
    plan = {
        "format": FORMAT,
        "size": size,
        "seed": seed,
        "domain": asdict(DOMAINS[domain]),
        "landmarks": list(LANDMARKS),
    }
    plan = json.loads(json.dumps(plan))
    folder.mkdir(parents=True, exist_ok=True)
    described = folder / "cache.json"
    if described.exists():
        if read_json(described) != plan:
            raise Refused(f"{described}: holds another cache; choose another folder or remove this one")
    elif any(folder.iterdir()):
        raise Refused(f"{folder}: holds other files; choose an empty folder")
    else:
        write_whole(described, json.dumps(plan, indent=2).encode() + b"\n")
    cabin = Cabin(size, DOMAINS[domain])
    shards = -(-count // SHARD)
    with tqdm(total=shards * SHARD, unit="frame", disable=None) as progress:
        for number in range(shards):
            _write_shard(folder / f"shard-{number:05d}.npz", cabin, seed, number, progress)
    return shards * SHARD


def _write_shard(path: Path, cabin: Cabin, seed: int, number: int, progress: Any) -> None:
    if path.exists():
        progress.update(SHARD)
        return
    step = frames_per_batch(cabin.size)
    batches = []
    indices = range(number * SHARD, (number + 1) * SHARD)
    for start in range(0, SHARD, step):
        batches.append(cabin.render(seed, indices[start : start + step]))
        progress.update(len(batches[-1].frames))
    hidden = np.array([[name in names for name in CABIN.names] for batch in batches for names in batch.hidden])
    buffer = io.BytesIO()
    np.savez(
        buffer,
        frames=np.concatenate([batch.frames for batch in batches]),
        conditions=np.concatenate([CABIN.encode(batch.conditions) for batch in batches]),
        landmarks=np.concatenate([batch.landmarks for batch in batches]),
        hidden=hidden,
        subjects=np.concatenate([batch.subjects for batch in batches]),
    )
    write_whole(path, buffer.getvalue())


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m training.data.cache",
        description="Render driver frames with exact labels into a folder that training reads.",
        epilog="example: python -m training.data.cache build/cabin64 -n 49152 --size 64",
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
    total = write_cache(args.folder, args.n, args.size, args.seed, args.domain)
    print(f"{args.folder}: {total} frames of {args.size} px")
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command("training.data.cache", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
