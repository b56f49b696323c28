"""Many workers make the dataset that one process makes, whatever happens to them; embedded Ray keeps to itself."""

from __future__ import annotations

import filecmp
import importlib.util
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import read_manifest
from contract.dataset import Record, read_dataset
from contract.errors import Unavailable
from contract.plan import Cell, Plan
from fleet.cluster import Cluster, connect
from fleet.generate import main as generate_by_fleet
from fleet.pool import share_of, worker_pool
from fleet.run import Fleet
from fleet.scheduler import SILENCES, TRIES, Scheduler, cut
from fleet.worker import EngineSettings, find_bundle, read_files
from pictures.contact_sheet import contact_path
from runtime.certificate import CERTIFICATE, KEY
from runtime.certificate import main as certify
from runtime.dataset_run import RunSettings
from runtime.generate import main as generate
from runtime.outputs.folder import FolderWriter
from runtime.outputs.images import decode_image
from runtime.outputs.reader import open_dataset
from runtime.outputs.writer import FORMATS
from tests.fake_bundle import write_fake_bundle
from tests.fleet.fake_workers import Deadly, Quick, Sleeper

if importlib.util.find_spec("ray") is None:  # not importorskip: Ray reads its environment when it is imported
    pytest.skip("Ray isn't installed: pip install '.[fleet]'", allow_module_level=True)

ROOT = Path(__file__).parents[2]
COUNT, SHARD, SEED = 100, 8, 11
REJECT_BELOW = 0.5


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file in which every Python process started meanwhile notes the hosts that it looks up or connects to."""
    path = tmp_path_factory.mktemp("watch") / "hosts"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETWORK_WATCH", str(path))
        patch.setenv("PYTHONPATH", str(ROOT / "tests" / "fleet" / "network_watch"))
        yield path


@pytest.fixture(scope="module")
def cluster(watch: Path) -> Iterator[Cluster]:
    with connect(None) as found:
        yield found


def test_an_address_where_nobody_answers_is_given_up() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # taken, and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for prefix in ("", "ray://"):
            with (
                pytest.raises(Unavailable, match=f"--ray {prefix}{address}: nobody answers"),
                connect(prefix + address),
            ):
                pass


def hosts_in(watch: Path) -> set[str]:
    """Hosts of the network, not the sockets of the file system."""
    hosts = {line.split(" ", 1)[1] for line in watch.read_text().splitlines()}
    return {host for host in hosts if not host.startswith("/")}


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
        "run": RunSettings(SEED, REJECT_BELOW),
        "backend": "cpu",
        "precision": "fp32",
        "batch": None,
        "annotator": "auto",
        "state": None,
    }
    return EngineSettings(**values | changes)


def plan_of(bundle: Path) -> Plan:
    return Plan(read_manifest(bundle).schema, [Cell({}, (), COUNT)])


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_same(folder: Path, expected: Path) -> None:
    """Every file of both datasets, and their contact sheets, are equal byte for byte."""
    names = files_below(expected)
    assert files_below(folder) == names
    assert filecmp.cmpfiles(folder, expected, names, shallow=False)[0] == names
    assert contact_path(folder).read_bytes() == contact_path(expected).read_bytes()


def test_the_command_writes_what_one_process_writes(watch: Path, bundle: Path, expected: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fleet.generate", bundle, "-o", tmp_path / "d", "-n", COUNT, "--seed", SEED]
    command += ["--backend", "cpu", "--reject-below", REJECT_BELOW, "--workers", 2, "--shard", SHARD, "--json"]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["frames"], report["new"], report["workers"], report["workers_lost"]) == (COUNT, COUNT, 2, 0)
    assert_same(tmp_path / "d", expected)
    assert hosts_in(watch) == {"127.0.0.1"}


def test_a_worker_that_is_killed_at_work_changes_nothing_and_is_reported(
    cluster: Cluster,
    bundle: Path,
    expected: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    victims: list[int] = []

    @contextmanager
    def noted_pool(*settings: Any) -> Iterator[list[Any]]:
        with worker_pool(*settings) as workers:
            victims.append(cluster.ray.get(workers[0].process.remote()).number)
            yield workers

    class KillingWriter(FolderWriter):
        def append(self, records: Sequence[Record]) -> None:
            super().append(records)
            if victims:  # at the first shard: later, it may have drawn all that it was given
                os.kill(victims.pop(), signal.SIGKILL)

    monkeypatch.setattr("fleet.generate.connect", lambda address: nullcontext(cluster))
    monkeypatch.setattr("fleet.generate.worker_pool", noted_pool)
    monkeypatch.setitem(FORMATS, "folder", KillingWriter)
    options = ["-n", str(COUNT), "--seed", str(SEED), "--backend", "cpu", "--reject-below", str(REJECT_BELOW)]
    assert generate_by_fleet([str(bundle), "-o", str(tmp_path / "d"), *options, "--workers", "2", "--shard", "8"]) == 0
    assert not victims
    assert "lost and replaced workers: 1;" in capsys.readouterr().out
    assert_same(tmp_path / "d", expected)


@pytest.mark.parametrize(("layout", "codec"), [("webdataset", "webp"), ("parquet", "png"), ("folder", "jpeg")])
def test_every_format_is_that_of_one_process(
    cluster: Cluster, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, codec: str
) -> None:
    if layout == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow isn't installed: pip install '.[datasets]'")
    monkeypatch.setattr("fleet.generate.connect", lambda address: nullcontext(cluster))
    options = ["-n", "20", "--seed", "3", "--backend", "cpu", "--format", layout, "--codec", codec]
    assert generate([str(bundle), "-o", str(tmp_path / "one"), *options]) == 0
    assert (
        generate_by_fleet([str(bundle), "-o", str(tmp_path / "many"), *options, "--workers", "2", "--shard", "7"]) == 0
    )
    assert_same(tmp_path / "many", tmp_path / "one")


@pytest.mark.parametrize("shard", ["8", "100"], ids=["a part of a clip", "several clips"])
@pytest.mark.parametrize("reject", [[], ["--reject-below", "0.7"]], ids=["plain", "rejecting"])
def test_clips_are_those_of_one_process(
    cluster: Cluster, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reject: list[str], shard: str
) -> None:
    monkeypatch.setattr("fleet.generate.connect", lambda address: nullcontext(cluster))
    video = ["--video"] * bool(importlib.util.find_spec("imageio_ffmpeg"))
    options = ["-n", "3", "--seed", "4", "--backend", "cpu", "--clip", "1.5", "--fps", "8", *reject, *video]
    assert generate([str(bundle), "-o", str(tmp_path / "one"), *options]) == 0
    many = [str(bundle), "-o", str(tmp_path / "many"), *options, "--workers", "2", "--shard", shard]
    assert generate_by_fleet(many) == 0
    assert_same(tmp_path / "many", tmp_path / "one")
    assert generate_by_fleet(many) == 0, "complete already"


def test_signed_frames_are_those_of_one_process_with_valid_manifests(
    cluster: Cluster, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    c2pa = pytest.importorskip("c2pa", reason="c2pa-python isn't installed: pip install '.[sign]'")
    monkeypatch.setattr("fleet.generate.connect", lambda address: nullcontext(cluster))
    assert certify([str(tmp_path / "c")]) == 0
    options = ["-n", "20", "--seed", "3", "--backend", "cpu", "--codec", "webp"]
    options += ["--sign", str(tmp_path / "c" / CERTIFICATE), str(tmp_path / "c" / KEY)]
    assert generate([str(bundle), "-o", str(tmp_path / "one"), *options]) == 0
    assert (
        generate_by_fleet([str(bundle), "-o", str(tmp_path / "many"), *options, "--workers", "2", "--shard", "7"]) == 0
    )
    one, many = open_dataset(tmp_path / "one"), open_dataset(tmp_path / "many")
    assert many.description == one.description and many.description.signed
    for mine, theirs in zip(many.samples(), one.samples(), strict=True):
        assert mine.record == theirs.record
        assert (decode_image(mine.content) == decode_image(theirs.content)).all()
        assert c2pa.Reader("image/webp", io.BytesIO(mine.content)).get_validation_state() == "Valid"


def test_either_command_goes_on_with_what_the_other_began(
    cluster: Cluster, bundle: Path, expected: Path, tmp_path: Path
) -> None:
    class FullDisk(FolderWriter):
        def append(self, records: Sequence[Record]) -> None:
            if self.written >= COUNT // 2:
                raise OSError(28, "No space left on device")
            super().append(records)

    with worker_pool(cluster, settings_of(bundle), share_of(cluster, "cpu", 1)) as workers:
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


def test_a_bundle_travels_to_machines_that_do_not_have_it_and_to_workers_that_start_again(
    cluster: Cluster, bundle: Path, expected: Path, tmp_path: Path
) -> None:
    manifest = read_manifest(bundle)
    files = cluster.share(read_files(bundle, ["manifest.json", *manifest.files]))
    settings = settings_of(tmp_path / "not here", digest=manifest.digest, files=files)
    with worker_pool(cluster, settings, share_of(cluster, "cpu", 1)) as workers:
        fleet = Fleet(cluster, workers, plan_of(bundle))
        shutil.rmtree(find_bundle(settings))
        os.kill(cluster.ray.get(workers[0].process.remote()).number, signal.SIGKILL)
        result = fleet.write(FolderWriter(tmp_path / "d", fleet.description), str(tmp_path / "d"), SHARD)
    assert result.losses == 1
    assert_same(tmp_path / "d", expected)
    for name in ("step.fp32.onnx", "manifest.json"):  # a system that tidies its temporary files takes some
        (find_bundle(settings) / name).unlink()
        assert (find_bundle(settings) / name).is_file()


def test_what_a_worker_cannot_open_is_the_runtimes_own_error(cluster: Cluster, bundle: Path) -> None:
    with (
        worker_pool(cluster, settings_of(bundle, precision="int8"), share_of(cluster, "cpu", 1)) as workers,
        pytest.raises(Unavailable, match="int8"),
    ):
        Fleet(cluster, workers, plan_of(bundle))


def start(cluster: Cluster, *kinds: type) -> list[Any]:
    """Workers that are there: how long a machine takes to start them is no part of a test's patience."""
    workers = [cluster.ray.remote(kind).options(num_cpus=0).remote() for kind in kinds]
    cluster.ray.get([worker.process.remote() for worker in workers])
    return workers


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
    with pytest.raises(Unavailable, match=f"frames 0 to 3: nothing came back for {0.2 * SILENCES:.0f} s"):
        list(scheduler.run(cut(range(8), 4)))


def test_a_shard_that_kills_every_worker_ends_the_run_and_says_why(cluster: Cluster) -> None:
    scheduler = Scheduler(
        cluster.ray, start(cluster, Deadly), lambda worker, indices: worker.draw.remote(indices), patience=60.0
    )
    with pytest.raises(Unavailable, match=rf"frames (0 to 3|4 to 7): drawn {TRIES} times, .*died"):
        list(scheduler.run(cut(range(8), 4)))


def test_usage_reports_are_off_and_nothing_leaves_this_machine(cluster: Cluster, watch: Path) -> None:
    assert [node["NodeManagerAddress"] for node in cluster.ray.nodes()] == ["127.0.0.1"]
    log = Path(cluster.ray._private.worker._global_node.get_logs_dir_path()) / "dashboard.log"
    deadline = time.monotonic() + 60
    while "Usage reporting is" not in log.read_text():  # Ray writes it once it has asked where it runs
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    assert "Usage reporting is disabled." in log.read_text()
    assert hosts_in(watch) == {"127.0.0.1"}
