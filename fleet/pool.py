"""The workers of a fleet: how many, with how many cores or GPUs each, and whether all of them draw the same.

with worker_pool(cluster, settings, share_of(cluster, "cpu", workers=4)) as workers:
    description = agreed(ask(cluster, [worker.report.remote(plan) for worker in workers]))
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from contract.dataset import Description
from contract.errors import Refused, Unavailable
from fleet.cluster import Cluster
from fleet.scheduler import TRIES
from fleet.worker import EngineSettings, ShardWorker, WorkerReport

CORES = 4
"""Processor cores of a worker where nobody says how many workers there are."""

ON_GPU = ("auto", "trt", "cuda")
"""Backends whose workers take a GPU each where the cluster has some."""


@dataclass(frozen=True)
class Share:
    """What each of `workers` gets."""

    workers: int
    cpus: float
    """Cores; a fraction where there are more workers than cores."""

    gpus: float

    @property
    def cores(self) -> int:
        """Whole cores for a worker of its own, 0 where it shares them."""
        return int(self.cpus)


def share_of(cluster: Cluster, backend: str, workers: int | None, cores: int | None = None) -> Share:
    """A share for `workers`, or for one a GPU, or for one for every four cores; of `cores`, or of all."""
    if backend in ON_GPU and cluster.gpus:
        count = workers or int(cluster.gpus)
        gpus = min(1.0, math.floor(100 * cluster.gpus / count) / 100)
    else:
        most = sum(max(1, int(cpus // CORES)) for cpus in cluster.cpus)
        count = workers or (min(most, max(1, cores // CORES)) if cores else most)
        gpus = 0.0
    cpus = largest_share(cluster.cpus, count)
    return Share(count, min(cpus, _allowed(cores / count)) if cores else cpus, gpus)


def largest_share(cpus: Sequence[float], workers: int) -> float:
    """The most cores that each of `workers` can have on nodes with so many cores; whole, or a fraction below 1.

    Unavailable where they have none for that many.
    """
    candidates = {_allowed(node / number) for node in cpus for number in range(1, workers + 1)}
    shares = [share for share in candidates if sum(int(node / share + 1e-9) for node in cpus) >= workers]
    if not shares:
        raise Unavailable(f"the cluster offers {sum(cpus):g} cores for {workers} workers; lower --workers")
    return max(shares)


def _allowed(cpus: float) -> float:
    """Ray takes whole numbers from 1 on, and fractions to four digits below."""
    return float(int(cpus)) if cpus >= 1 else max(1e-4, math.floor(1e4 * cpus) / 1e4)


@contextmanager
def worker_pool(cluster: Cluster, settings: EngineSettings, share: Share) -> Iterator[list[Any]]:
    """Workers, spread over the nodes, and gone at the end; Ray starts a lost one again and gives it its shards anew."""
    options = {"num_cpus": share.cpus, "num_gpus": share.gpus, "max_restarts": -1, "max_task_retries": TRIES}
    worker = cluster.ray.remote(ShardWorker).options(scheduling_strategy="SPREAD", **options)
    workers = [worker.remote(settings) for _ in range(share.workers)]
    try:
        yield workers
    finally:
        for each in workers:
            with suppress(Exception):  # it may be gone, and the cluster too
                cluster.ray.kill(each)


def ask(cluster: Cluster, references: Sequence[Any]) -> list[Any]:
    """The answers of all workers; an error of the runtime is raised as it is."""
    try:
        answers: list[Any] = cluster.ray.get(list(references))
        return answers
    except cluster.ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None


def agreed(reports: Sequence[WorkerReport]) -> Description:
    """The one dataset that all workers make; Refused where `auto` chose differently on different machines."""
    first = reports[0]
    for other in reports[1:]:
        if names := first.description.differences(other.description):
            raise Refused(_difference(names[0], first, other, "name it, with --backend and --precision"))
        if first.description.software != other.description.software:
            raise Refused(_difference("software", first, other, "install the same on every machine"))
    return first.description


def _difference(name: str, one: WorkerReport, other: WorkerReport, fix: str) -> str:
    found = [f"{getattr(each.description, name)} on {each.process.machine}" for each in (one, other)]
    return f"workers differ in {name}: {', '.join(found)}; {fix}"
