"""How many cores each worker gets, and that no two workers hold the same one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.dataset import Description
from contract.errors import Refused, Unavailable
from contract.schemas import CABIN
from fleet.cluster import Cluster
from fleet.pool import Share, agreed, largest_share, share_of
from fleet.private_folder import private_folder
from fleet.scheduler import cut
from fleet.worker import Process, WorkerReport
from tests.fake_bundle import IMAGE

ROOT = Path(__file__).parents[2]

SHARES = [
    ([2.0], 2, 1.0),
    ([2.0], 1, 2.0),
    ([2.0], 4, 0.5),
    ([16.0], 3, 5.0),
    ([6.0, 6.0], 2, 6.0),
    ([6.0, 6.0], 3, 3.0),
    ([8.0, 4.0], 3, 4.0),
    ([1.0], 3, 0.3333),
]


@pytest.mark.parametrize(("cpus", "workers", "expected"), SHARES)
def test_every_worker_fits_on_some_node(cpus: list[float], workers: int, expected: float) -> None:
    share = largest_share(cpus, workers)
    assert share == expected
    assert sum(int(node / share + 1e-9) for node in cpus) >= workers


def test_workers_take_a_gpu_each_where_there_are_some() -> None:
    cluster = Cluster(None, [16.0, 16.0], 4.0, False)
    assert share_of(cluster, "trt", None) == Share(4, 8.0, 1.0)
    assert share_of(cluster, "auto", 8) == Share(8, 4.0, 0.5)
    assert share_of(cluster, "cpu", None) == Share(8, 4.0, 0.0)
    assert share_of(Cluster(None, [2.0], 0.0, True), "auto", None) == Share(1, 2.0, 0.0)
    assert share_of(cluster, "cpu", 16, cores=16) == Share(16, 1.0, 0.0), "others have the rest of the cluster"
    assert share_of(cluster, "cpu", None, cores=10) == Share(2, 5.0, 0.0)
    assert share_of(cluster, "cpu", 4, cores=2) == Share(4, 0.5, 0.0)


def test_workers_that_would_draw_differently_are_refused() -> None:
    description = Description("0" * 64, "1" * 64, None, CABIN, IMAGE, seed=1, count=4, backend="cpu", precision="fp32")

    def report(machine: str, **changes: Any) -> WorkerReport:
        return WorkerReport(replace(description, **changes), Process(machine, 1), "cpu", True)

    assert agreed([report("a"), report("b", bundle="2" * 64)]) == description
    with pytest.raises(Refused, match="workers differ in backend: cpu on a, openvino on b; name it, with --backend"):
        agreed([report("a"), report("a"), report("b", backend="openvino")])
    with pytest.raises(Refused, match=r"workers differ in software: .* on a, 0\.0 on b; install the same"):
        agreed([report("a"), report("b", software="0.0")])


def test_shards_cover_every_index_once() -> None:
    shards = cut(range(3, 20), 5)
    assert [index for shard in shards for index in shard] == list(range(3, 20))
    assert [shard.start for shard in shards] == [3, 5, 10, 15], "cut where an undisturbed run cuts, too"


CLAIM = """
import os, sys
from pathlib import Path
from fleet.cores import claim_cores
held = claim_cores(int(sys.argv[1]), Path(sys.argv[2]))
print(sorted(os.sched_getaffinity(0)), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no processor affinity on this system")
def test_a_core_is_claimed_by_one_process_until_it_ends(tmp_path: Path) -> None:
    every = sorted(os.sched_getaffinity(0))

    def claim(count: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CLAIM, str(count), str(tmp_path)]
        return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def cores_of(process: subprocess.Popen[str]) -> list[int]:
        assert process.stdout
        found: list[int] = json.loads(process.stdout.readline())
        return found

    holders = [claim(1) for _ in every]
    try:
        assert sorted(core for holder in holders for core in cores_of(holder)) == every
        late = claim(1)
        holders.append(late)
        assert cores_of(late) == every  # none is free: it runs on all
        holders[0].kill()
        holders[0].wait()
        again = claim(1)
        holders.append(again)
        assert len(cores_of(again)) == 1
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no users on this system")
def test_a_folder_that_others_may_write_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = private_folder("bundles")
    assert folder.stat().st_mode & 0o077 == 0
    folder.parent.chmod(0o777)
    with pytest.raises(Refused, match="others may write it"):
        private_folder("bundles")


@pytest.mark.parametrize("cpus", [[], [1.0]])
def test_more_workers_than_a_cluster_has_room_for(cpus: list[float]) -> None:
    with pytest.raises(Unavailable, match="cores for 20000 workers"):
        largest_share(cpus, 20_000)
