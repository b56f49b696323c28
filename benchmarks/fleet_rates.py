"""Generation by a fleet beside one process, and how fast the fleet's one writer can write.

rate = one_process(bundle, folder, frames=2048)            # frames a second, as each command reports it
rate = fleet(bundle, folder, frames=2048, workers=2)
measured = writing(bundle, folder, frames=2048)            # of shards that are drawn already
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.fixtures import ROOT, cpu_backend
from contract.bundle import read_manifest
from contract.plan import Plan
from fleet.scheduler import cut
from fleet.worker import EngineSettings, ShardWorker
from runtime.outputs.writer import FORMATS

PRECISION, SEED, SHARD = "int8", "1", 128


@dataclass(frozen=True)
class Written:
    """What one format's writer did with shards that were drawn before."""

    frames_per_second: float
    bytes_per_frame: float
    """On disk, records included."""


def one_process(bundle: Path, folder: Path, frames: int) -> float:
    """Frames a second of `runtime.generate` with its annotator, from its opened engine to the contact sheet."""
    report = _command("runtime.generate", bundle, folder, frames)
    return frames / float(report["seconds"])


def fleet(bundle: Path, folder: Path, frames: int, workers: int) -> float:
    """Frames a second of `fleet.generate` on an embedded Ray, from the first shard to the last one written."""
    options = ["--workers", str(workers), "--shard", str(SHARD)]
    return float(_command("fleet.generate", bundle, folder, frames, *options)["frames_per_second"])


def writing(bundle: Path, folder: Path, frames: int) -> dict[str, Written]:
    """Every format's writer on the same shards."""
    settings = EngineSettings(
        bundle=str(bundle),
        digest=read_manifest(bundle).digest,
        files=None,
        cores=0,
        seed=int(SEED),
        reject_below=None,
        backend=cpu_backend(),
        precision=PRECISION,
        batch=None,
        annotator="auto",
        state=None,
    )
    worker, plan = ShardWorker(settings), Plan(read_manifest(bundle).schema, {}, (), frames)
    description = worker.report(plan).description
    shards = [worker.draw(plan, indices) for indices in cut(range(frames), SHARD)]
    found: dict[str, Written] = {}
    for name, writer_of in FORMATS.items():
        started = time.perf_counter()
        writer = writer_of(str(folder / name), description)
        for shard in shards:
            for index, content in zip(shard.indices, shard.contents, strict=True):
                writer.place(index, content)
            writer.append(shard.records)
        writer.close()
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
        found[name] = Written(frames / seconds, size / frames)
    return found


def load() -> float:
    """Processes that wanted a core during the last minute."""
    return os.getloadavg()[0]


def _command(module: str, bundle: Path, folder: Path, frames: int, *options: str) -> dict[str, Any]:
    engine = ["--backend", cpu_backend(), "--precision", PRECISION, "--seed", SEED]
    command = [sys.executable, "-m", module, str(bundle), "-o", str(folder), "-n", str(frames), *engine, *options]
    done = subprocess.run([*command, "--json"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{module} ended with {done.returncode}: {done.stderr[-500:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report
