"""Many workers make the dataset that one process makes, whatever happens to them; embedded Ray keeps to itself."""

from __future__ import annotations

import filecmp
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import read_manifest
from contract.dataset import Description, Record, read_dataset
from contract.errors import Unavailable
from contract.plan import Plan
from fleet.cluster import Cluster, connect
from fleet.crew import hired, share_of
from fleet.run import Fleet
from fleet.scheduler import TRIES, Scheduler, cut
from fleet.worker import EngineSettings, Shard, read_files
from pictures.contact_sheet import contact_path
from runtime.generate import main as generate
from runtime.outputs.folder import FolderWriter
from tests.fake_bundle import write_fake_bundle

pytest.importorskip("ray", reason="Ray isn't installed: pip install '.[fleet]'")

ROOT = Path(__file__).parents[2]
COUNT, SHARD, SEED = 100, 8, 11
REJECT_BELOW = 0.5


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connect(None) as found:
        yield found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet") / "bundle"
    write_fake_bundle(folder, annotator=True)
    return folder


@pytest.fixture(scope="module")
def expected(bundle: Path) -> Path:
    """What one process makes of it."""
    folder = bundle.parent / "expected"
    options = ["-n", str(COUNT), "--seed", str(SEED), "--backend", "cpu", "--reject-below", str(REJECT_BELOW)]
    assert generate([str(bundle), "-o", str(folder), *options]) == 0
    return folder


def settings_of(bundle: Path, **changes: Any) -> EngineSettings:
    values: dict[str, Any] = {
        "bundle": str(bundle),
        "digest": "",
        "files": None,
        "cores": 1,
        "seed": SEED,
        "reject_below": REJECT_BELOW,
        "backend": "cpu",
        "precision": "fp32",
        "batch": None,
        "annotator": "auto",
        "state": None,
    }
    return EngineSettings(**values | changes)


def plan_of(bundle: Path) -> Plan:
    return Plan(read_manifest(bundle).schema, {}, (), COUNT)


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_same(folder: Path, expected: Path) -> None:
    """Every file of both datasets, and their contact sheets, are equal byte for byte."""
    names = files_below(expected)
    assert files_below(folder) == names
    assert filecmp.cmpfiles(folder, expected, names, shallow=False)[0] == names
    assert contact_path(folder).read_bytes() == contact_path(expected).read_bytes()


def test_the_command_writes_what_one_process_writes(bundle: Path, expected: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fleet.generate", bundle, "-o", tmp_path / "d", "-n", COUNT, "--seed", SEED]
    command += ["--backend", "cpu", "--reject-below", REJECT_BELOW, "--workers", 2, "--shard", SHARD, "--json"]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["frames"], report["new"], report["workers"], report["workers_lost"]) == (COUNT, COUNT, 2, 0)
    assert_same(tmp_path / "d", expected)


class KillingWriter(FolderWriter):
    """Kills a worker's process once some shards are written."""

    def __init__(self, folder: Path, description: Description, victim: int) -> None:
        super().__init__(folder, description)
        self._victim: int | None = victim

    def append(self, records: Sequence[Record]) -> None:
        super().append(records)
        if self._victim is not None and self.written >= COUNT // 4:
            os.kill(self._victim, signal.SIGKILL)
            self._victim = None


def test_a_worker_that_is_killed_changes_nothing_and_is_counted(
    cluster: Cluster, bundle: Path, expected: Path, tmp_path: Path
) -> None:
    with hired(cluster, settings_of(bundle), share_of(cluster, "cpu", 2)) as workers:
        fleet = Fleet(cluster, workers, plan_of(bundle))
        [_, pid] = cluster.ray.get(workers[0].process.remote())
        result = fleet.write(KillingWriter(tmp_path / "d", fleet.description, pid), str(tmp_path / "d"), SHARD)
    assert result.losses == 1
    assert_same(tmp_path / "d", expected)


def test_either_command_goes_on_with_what_the_other_began(
    cluster: Cluster, bundle: Path, expected: Path, tmp_path: Path
) -> None:
    class FullDisk(FolderWriter):
        def append(self, records: Sequence[Record]) -> None:
            if self.written >= COUNT // 2:
                raise OSError(28, "No space left on device")
            super().append(records)

    with hired(cluster, settings_of(bundle), share_of(cluster, "cpu", 1)) as workers:
        fleet = Fleet(cluster, workers, plan_of(bundle))
        with pytest.raises(OSError, match="No space left"):
            fleet.write(FullDisk(tmp_path / "d", fleet.description), str(tmp_path / "d"), SHARD)
        assert COUNT // 2 <= len(list(read_dataset(tmp_path / "d").records())) < COUNT
        result = fleet.write(FolderWriter(tmp_path / "d", fleet.description), str(tmp_path / "d"), SHARD)
    assert 0 < result.new <= COUNT // 2
    assert_same(tmp_path / "d", expected)
    options = ["-n", str(COUNT), "--seed", str(SEED), "--backend", "cpu", "--reject-below", str(REJECT_BELOW)]
    assert generate([str(bundle), "-o", str(tmp_path / "d"), *options]) == 0
    assert_same(tmp_path / "d", expected)


def test_a_bundle_travels_to_machines_that_do_not_have_it(
    cluster: Cluster, bundle: Path, expected: Path, tmp_path: Path
) -> None:
    manifest = read_manifest(bundle)
    files = read_files(bundle, ["manifest.json", *manifest.files])
    settings = settings_of(tmp_path / "not here", digest=manifest.digest, files=files)
    with hired(cluster, settings, share_of(cluster, "cpu", 1)) as workers:
        fleet = Fleet(cluster, workers, plan_of(bundle))
        fleet.write(FolderWriter(tmp_path / "d", fleet.description), str(tmp_path / "d"), SHARD)
    assert_same(tmp_path / "d", expected)


def test_what_a_worker_cannot_open_is_the_runtimes_own_error(cluster: Cluster, bundle: Path) -> None:
    with (
        hired(cluster, settings_of(bundle, precision="int8"), share_of(cluster, "cpu", 1)) as workers,
        pytest.raises(Unavailable, match="int8"),
    ):
        Fleet(cluster, workers, plan_of(bundle))


class Sleeper:
    """A worker whose shards never come back."""

    def draw(self, indices: range) -> None:
        time.sleep(3600)


class Quick:
    """A worker whose shards come back at once, and are empty."""

    def draw(self, indices: range) -> Shard:
        return Shard(indices, [], [], {}, ("machine", os.getpid()))


def start(cluster: Cluster, *kinds: type) -> list[Any]:
    return [cluster.ray.remote(kind).options(num_cpus=0).remote() for kind in kinds]


def test_a_shard_that_does_not_come_back_is_given_to_another_worker(cluster: Cluster) -> None:
    shards = cut(range(6), 1)
    scheduler = Scheduler(
        cluster.ray, start(cluster, Sleeper, Quick), lambda worker, indices: worker.draw.remote(indices), patience=2.0
    )
    assert [shard.indices for shard in scheduler.run(shards)] == shards


def test_a_shard_that_never_comes_back_ends_the_run(cluster: Cluster) -> None:
    scheduler = Scheduler(
        cluster.ray, start(cluster, Sleeper), lambda worker, indices: worker.draw.remote(indices), patience=0.2
    )
    with pytest.raises(Unavailable, match=f"frames 0 to 3: given out {TRIES} times"):
        list(scheduler.run(cut(range(8), 4)))


def test_usage_reports_are_off_and_nothing_listens_beyond_this_machine(cluster: Cluster) -> None:
    from ray._common.usage import usage_lib

    assert not usage_lib.usage_stats_enabled()
    assert [node["NodeManagerAddress"] for node in cluster.ray.nodes()] == ["127.0.0.1"]
    if not Path("/proc/self/environ").exists():
        return
    processes = [path for path in Path("/proc").glob("[0-9]*") if is_descendant(path)]
    environments = [path.joinpath("environ").read_bytes().split(b"\0") for path in processes]
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0" and len(environments) > 2  # the store, the scheduler, workers
    assert all(b"RAY_USAGE_STATS_ENABLED=0" in each for each in environments if each != [b""])


def is_descendant(path: Path) -> bool:
    """Whether a process was started by this one, or by one of its children."""
    parent = int(path.name)
    while parent > 1:
        try:
            parent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return False
        if parent == os.getpid():
            return True
    return False
