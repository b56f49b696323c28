"""Generation by a fleet beside one process, taking turns, and how fast the fleet's one writer can write.

rounds = take_turns(bundle, folder, frames=1024, workers=2, rounds=7)
rounds[0].fleet / rounds[0].one_process
measured = writing(bundle, folder, frames=2048)            # of shards that are drawn already
"""

from __future__ import annotations

import filecmp
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.fixtures import cpu_backend
from contract.bundle import read_manifest
from contract.plan import Cell, Plan
from fleet.cluster import connect
from fleet.pool import share_of, worker_pool
from fleet.run import Fleet
from fleet.scheduler import cut
from fleet.worker import EngineSettings, ShardWorker
from runtime.dataset_run import RunSettings, write_dataset
from runtime.generator import Generator
from runtime.outputs.writer import FORMATS, open_writer

PRECISION, SEED, SHARD = "int8", 1, 128


@dataclass(frozen=True)
class Round:
    """Frames a second to disk, annotator and contact sheet included, engines opened before."""

    one_process: float
    fleet: float
    load: float
    """Processes that wanted a core during the last minute, this benchmark's own among them."""


@dataclass(frozen=True)
class Written:
    """What one format's writer did with shards that were drawn before."""

    frames_per_second: float
    bytes_per_frame: float
    """On disk, records included."""


def take_turns(bundle: Path, folder: Path, frames: int, workers: int, rounds: int) -> list[Round]:
    """Both draw the same dataset, one after the other; RuntimeError where their files differ."""
    plan, found = Plan(read_manifest(bundle).schema, [Cell({}, each=frames)]), []
    with connect(None) as cluster:
        share = share_of(cluster, cpu_backend(), workers)
        with (
            worker_pool(cluster, _settings(bundle, share.cores), share) as pool,
            Generator.open(bundle, cpu_backend(), PRECISION) as generator,
        ):
            fleet = Fleet(cluster, pool, plan)
            for number in range(rounds):
                one, many = folder / f"one-{number}", folder / f"many-{number}"
                started = time.perf_counter()
                write_dataset(generator, plan, open_writer(str(one), fleet.description), str(one))
                middle = time.perf_counter()
                fleet.write(open_writer(str(many), fleet.description), str(many), SHARD)
                seconds = middle - started, time.perf_counter() - middle
                found.append(Round(frames / seconds[0], frames / seconds[1], os.getloadavg()[0]))
                _refuse_difference(one, many)
    return found


def writing(bundle: Path, folder: Path, frames: int) -> dict[str, Written]:
    """Every format's writer on the same shards."""
    worker, plan = ShardWorker(_settings(bundle, 0)), Plan(read_manifest(bundle).schema, [Cell({}, each=frames)])
    description = worker.report(plan).description
    shards = [worker.draw(plan, indices) for indices in cut(range(frames), SHARD)]
    found: dict[str, Written] = {}
    for name in FORMATS:
        started = time.perf_counter()
        writer = open_writer(str(folder / name), replace(description, layout=name))
        for shard in shards:
            for index, content in zip(shard.indices, shard.contents, strict=True):
                writer.place(index, content)
            writer.append(shard.records)
        writer.close()
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
        found[name] = Written(frames / seconds, size / frames)
    return found


def _settings(bundle: Path, cores: int) -> EngineSettings:
    return EngineSettings(
        bundle=str(bundle),
        digest=read_manifest(bundle).digest,
        files=None,
        cores=cores,
        run=RunSettings(SEED),
        backend=cpu_backend(),
        precision=PRECISION,
        batch=None,
        annotator="auto",
        state=None,
    )


def _refuse_difference(one: Path, many: Path) -> None:
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    same = filecmp.cmpfiles(one, many, names, shallow=False)[0]
    if different := sorted(set(names) - set(same)):
        raise RuntimeError(f"{many}: {different[0]} isn't that of {one}")
