"""Ctrl-C, a full disk and a kill leave valid content, from which the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from contract.dataset import Dataset, read_dataset
from contract.schemas import CABIN
from runtime.generate import main
from runtime.outputs.reader import open_dataset
from runtime.outputs.writer import FORMATS
from tests.fake_bundle import write_fake_bundle

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
"""Seconds after which a subprocess counts as hung; it needs about two on an idle machine."""


def start(bundle: Path, output: Path, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "runtime.generate", str(bundle), "-o", str(output), "-n", str(count)]
    return subprocess.Popen([*command, "--backend", "cpu", "--batch", "4"], cwd=ROOT, stderr=subprocess.PIPE, text=True)


def wait_for_records(process: subprocess.Popen[str], output: Path, count: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        if (output / "metadata.jsonl").exists() and (output / "metadata.jsonl").read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.005)
    raise AssertionError(f"no {count} records: {process.stderr.read() if process.stderr else ''}")


def check_valid(folder: Path, exact: bool = True) -> Dataset:
    """Every record has its readable frame, and (unless killed outright) there is nothing else."""
    dataset = read_dataset(folder)
    recorded = [dataset.frame_path(record) for record in dataset.records()]
    for path in recorded:
        with Image.open(path) as image:
            image.load()
    if exact:
        assert sorted((folder / "frames").rglob("*.*")) == recorded
    assert not dataset.description.complete
    return dataset


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_a_stopped_run_leaves_a_valid_dataset_and_goes_on(bundle: Path, tmp_path: Path, name: str) -> None:
    output, count = tmp_path / "d", 50_000
    process = start(bundle, output, count)
    wait_for_records(process, output, 12)
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=PATIENCE)
    before = len(list(check_valid(output, exact=name == "SIGINT").records()))
    assert 12 <= before < count
    if name == "SIGINT":
        assert process.returncode == 1 and error == "runtime.generate: interrupted; what is written is complete\n"
    again = start(bundle, output, count)
    wait_for_records(again, output, before + 4)
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=PATIENCE)
    assert len(list(check_valid(output).records())) >= before + 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system takes root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_leaves_a_valid_dataset(
    bundle: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(bundle), "-o", str(small_disk / "d"), "-n", "1000", "--backend", "cpu", "--batch", "16"]
    assert main(command) == 1
    error = capsys.readouterr().err
    assert "d/" in error and "No space left on device" in error and error.count("\n") == 1
    written = len(list(check_valid(small_disk / "d").records()))
    assert written > 50
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert main(command) == 0
    assert len(list(read_dataset(small_disk / "d").records())) == 1000


ENOUGH_FOR_SOME = {"folder": "1536k", "webdataset": "5m", "parquet": "1m"}
"""Disks that hold some frames of a folder, or one shard and not two."""


@pytest.mark.parametrize("layout", FORMATS)
def test_a_disk_that_becomes_read_only_is_one_line_and_what_was_written_loads(
    layout: str, bundle: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk stops the run; then, as after an error of the disk, nothing can be written there any more."""
    subprocess.run(["mount", "-o", f"remount,size={ENOUGH_FOR_SOME[layout]}", str(small_disk)], check=True)
    options = ["-n", "2200", "--backend", "cpu", "--batch", "16", "--format", layout]
    command = [str(bundle), "-o", str(small_disk / "d"), *options]
    assert main(command) == 1 and "No space left on device" in capsys.readouterr().err
    written = [sample.record["index"] for sample in open_dataset(small_disk / "d").samples()]
    assert written == list(range(len(written))) and written
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for output in (small_disk / "d", small_disk / "new"):
        assert main([str(bundle), "-o", str(output), *options]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "Read-only file system" in error and str(small_disk) in error
    assert len(list(open_dataset(small_disk / "d").samples())) == len(written)
    subprocess.run(["mount", "-o", "remount,rw,size=64m", str(small_disk)], check=True)
    assert main(command) == 0
    assert [record["index"] for record in open_dataset(small_disk / "d").records()] == list(range(2200))


def test_a_folder_without_the_right_to_write_is_one_line(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "d").mkdir(mode=0o555)
    if os.access(tmp_path / "d", os.W_OK):
        pytest.skip("may write everywhere, as root does; the test above takes a file system that is read-only")
    assert main([str(bundle), "-o", str(tmp_path / "d"), "-n", "4", "--backend", "cpu"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Permission denied" in error and not list((tmp_path / "d").iterdir())


LIMITED = """
import resource, signal, sys
from runtime.generate import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails, as on a full disk, with an error
raise SystemExit(main(sys.argv[2:]))
"""


def test_records_that_do_not_fit_are_taken_back_whole(bundle: Path, tmp_path: Path) -> None:
    """A limit on the size of one file stops metadata.jsonl in the middle of a line, without root."""
    command = [str(bundle), "-o", str(tmp_path / "d"), "-n", "200", "--backend", "cpu", "--batch", "4"]
    run = [sys.executable, "-c", LIMITED, "20001", *command]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "metadata.jsonl: File too large" in done.stderr
    assert len(list(check_valid(tmp_path / "d").records())) >= 12
    assert main(command) == 0
    assert len(list(read_dataset(tmp_path / "d").records())) == 200


def test_a_first_file_that_does_not_fit_leaves_nothing_half_written(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path / "bundle", CABIN)
    run = [
        sys.executable,
        "-c",
        LIMITED,
        "100",
        str(tmp_path / "bundle"),
        "-o",
        str(tmp_path / "d"),
        "--backend",
        "cpu",
    ]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert not [path for path in (tmp_path / "d").rglob("*") if path.is_file()]
