"""`runtime.generate --raw`: the very frames through a real pipe and encoder, at a steady rate, to a clean end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest

from contract.field import Condition
from runtime import Generator
from runtime.batch import Batch
from runtime.generate import main
from runtime.outputs.raw_stream import Pacer, ahead, stream_frames
from tests.fake_bundle import IMAGE

ROOT = Path(__file__).parents[3]
PATIENCE = 60.0
"""Seconds after which a subprocess counts as hung; it needs about two on an idle machine."""

FRAME = (IMAGE.height, IMAGE.width, IMAGE.channels)
FRAME_BYTES = int(np.prod(FRAME))
COUNT, SEED = 21, 7
OPTIONS = ["-n", str(COUNT), "--seed", str(SEED), "--set", "lighting=night", "--batch", "4"]


@pytest.fixture(scope="module")
def ffmpeg() -> str:
    """A static ffmpeg out of a package, so that no system needs one."""
    return str(pytest.importorskip("imageio_ffmpeg", reason="pip install imageio-ffmpeg").get_ffmpeg_exe())


@pytest.fixture(scope="module")
def expected(bundle: Path) -> tuple[np.ndarray, list[Condition]]:
    """The frames of OPTIONS as the Python interface draws them, in the same batches."""
    with Generator.open(bundle, "cpu", batch=4) as generator:
        conditions = generator.complete([{"lighting": "night"}] * COUNT, SEED)
        return generator.generate(conditions, SEED), conditions


def start(bundle: Path, *options: str, **how: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "runtime.generate", str(bundle), "--raw", "-", "--backend", "cpu", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


def report(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The figures of a run with --json, and a check that there is nothing else on stderr but the layout."""
    assert process.stderr is not None
    layout, figures, *rest = process.stderr.read().decode().splitlines()
    assert layout == "runtime.generate: raw frames 16x16, pix_fmt rgb24, 768 bytes each" and not rest
    process.wait(PATIENCE)
    return dict(json.loads(figures))


def test_ffmpeg_takes_the_very_frames(
    bundle: Path, tmp_path: Path, ffmpeg: str, expected: tuple[np.ndarray, list[Condition]]
) -> None:
    """Through ffmpeg's pipe into a lossless video file, and back out of it."""
    video = tmp_path / "out.mkv"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{IMAGE.width}x{IMAGE.height}", "-r", "50"]
    sender = start(bundle, *OPTIONS, "--fps", "50", "--labels", str(tmp_path / "labels.jsonl"), "--json")
    encode = [ffmpeg, "-v", "error", *raw, "-i", "-", "-c:v", "ffv1", "-pix_fmt", "bgr0", str(video)]
    subprocess.run(encode, stdin=sender.stdout, check=True, timeout=PATIENCE)
    figures = report(sender)
    assert sender.returncode == 0 and (figures["frames"], figures["ended"]) == (COUNT, "count")
    decode = [ffmpeg, "-v", "error", "-i", str(video), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    decoded = subprocess.run(decode, check=True, capture_output=True, timeout=PATIENCE).stdout
    frames, conditions = expected
    np.testing.assert_array_equal(np.frombuffer(decoded, np.uint8).reshape(-1, *FRAME), frames)
    labels = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    wanted = [{"index": i, "seed": SEED, **condition, "synthetic": True} for i, condition in enumerate(conditions)]
    assert labels == wanted


def test_labels_go_to_a_descriptor_before_their_frame(
    bundle: Path, expected: tuple[np.ndarray, list[Condition]]
) -> None:
    labels, end = os.pipe()
    sender = start(bundle, *OPTIONS, "--labels", str(end), pass_fds=[end])
    os.close(end)
    assert sender.stdout is not None
    with os.fdopen(labels) as lines:
        for index, (frame, condition) in enumerate(zip(*expected, strict=True)):
            assert json.loads(lines.readline()) == {"index": index, "seed": SEED, **condition, "synthetic": True}
            assert sender.stdout.read(FRAME_BYTES) == frame.tobytes()
        assert lines.read() == "" and sender.stdout.read() == b""
    assert sender.wait(PATIENCE) == 0


def test_without_a_count_the_stream_has_no_end_and_the_reader_may_leave(bundle: Path) -> None:
    sender = start(bundle, "--grid", "lighting", "--json")
    assert sender.stdout is not None
    for _ in range(40):  # ten times the grid of 4
        assert len(sender.stdout.read(FRAME_BYTES)) == FRAME_BYTES
    sender.stdout.close()
    figures = report(sender)
    assert sender.returncode == 0 and figures["ended"] == "reader" and figures["frames"] >= 40


def test_a_reader_that_leaves_before_the_count_is_a_failure(bundle: Path) -> None:
    sender = start(bundle, "-n", "1000000")
    assert sender.stdout is not None and sender.stderr is not None
    sender.stdout.read(FRAME_BYTES)
    sender.stdout.close()
    last = sender.stderr.read().decode().splitlines()[-1]
    assert sender.wait(PATIENCE) == 1
    assert last.startswith("runtime.generate: stopped after ") and last.endswith(
        "of 1000000 frames: the reader went away"
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_stream_after_a_whole_frame(bundle: Path, name: str) -> None:
    sender = start(bundle, "--fps", "200", "--json")
    assert sender.stdout is not None
    received = len(sender.stdout.read(FRAME_BYTES * 20))
    sender.send_signal(getattr(signal, name))
    received += len(sender.stdout.read())
    figures = report(sender)
    assert sender.returncode == 0 and figures["ended"] == "stopped"
    assert received == FRAME_BYTES * figures["frames"]


def test_the_rate_is_steady(bundle: Path) -> None:
    """Generous bounds: the machine that runs the tests may be busy with other work."""
    sender = start(bundle, "-n", "50", "--fps", "50", "--json")
    assert sender.stdout is not None
    sender.stdout.read()
    figures = report(sender)
    assert figures["fps"] == 50 and 0.9 < figures["seconds"] < 3
    assert 0 <= figures["jitter_ms_p50"] <= figures["jitter_ms_p99"] and figures["jitter_ms_p50"] < 10


def test_a_named_pipe_or_file_takes_the_frames_too(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], expected: tuple[np.ndarray, list[Condition]]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    assert main([str(bundle), "--backend", "cpu", *OPTIONS, "--raw", str(pipe), "--json"]) == 0
    reader.join(PATIENCE)
    assert received == [expected[0].tobytes()]
    assert json.loads(capsys.readouterr().out)["frames"] == COUNT


USAGE = {
    "fps alone": (["--fps", "30"], "goes with --raw"),
    "labels alone": (["--labels", "x"], "goes with --raw"),
    "output": (["--raw", "-", "-o", "frames"], "--output: goes without --raw"),
    "format": (["--raw", "-", "--format", "folder"], "--format: goes without --raw"),
    "no rate": (["--raw", "-", "--fps", "0"], "above 0"),
    "endless rate": (["--raw", "-", "--fps", "inf"], "up to 10000"),
    "no number": (["--raw", "-", "--fps", "nan"], "above 0"),
    "frames and labels": (["--raw", "-", "--labels", "1"], "takes the frames"),
    "closed descriptor": (["--raw", "-", "--labels", "987"], "987>FILE"),
    "unreal descriptor": (["--raw", "-", "--labels", "9" * 30], "no open file descriptor"),
    "unknown field": (["--raw", "-", "--set", "colour=red"], "it has sensor, fatigue_level"),
}


@pytest.mark.parametrize(("options", "message"), USAGE.values(), ids=USAGE)
def test_a_wrong_argument_is_one_line_and_status_2(
    bundle: Path, capfd: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([str(bundle), "--backend", "cpu", *options]) == 2
    captured = capfd.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_a_terminal_takes_no_raw_frames(bundle: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "runtime.generate", str(bundle), "--raw", "-"]
    done = subprocess.run(command, cwd=ROOT, stdout=theirs, stderr=subprocess.PIPE, timeout=PATIENCE)
    os.close(ours), os.close(theirs)
    assert done.returncode == 2 and b"is a terminal" in done.stderr


class Clock:
    """Time that only passes where somebody sleeps, or `lost` says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_frames_are_held_back_until_they_are_due() -> None:
    clock, released = Clock(), []
    pacer = Pacer(4.0, clock, clock.sleep)
    for lost in (0.1, 0.0, 0.2, 0.249):
        pacer.wait()
        released.append(clock.now)
        clock.now += lost
    pacer.wait()
    assert [*released, clock.now] == pytest.approx([100.0, 100.25, 100.5, 100.75, 101.0])
    assert pacer.late == 0 and pacer.jitter_ms() == pytest.approx((0.0, 0.0), abs=1e-9)


def test_a_late_frame_starts_the_clock_anew_and_is_counted() -> None:
    clock, released = Clock(), []
    pacer = Pacer(10.0, clock, clock.sleep)
    for lost in (0.0, 0.15, 0.35, 0.0, 0.0):
        pacer.wait()
        released.append(round(clock.now - 100.0, 6))
        clock.now += lost
    # due at 0, 0.1, 0.2 (0.05 late: caught up), 0.3 (0.3 late: the clock starts anew), then 0.1 apart again
    assert released == [0.0, 0.1, 0.25, 0.6, 0.7] and pacer.late == 1
    jitter = pacer.jitter_ms()
    assert jitter == pytest.approx((25.0, np.percentile([0, 50, 250, 0], 99)), abs=1e-3)


def test_without_a_rate_nothing_waits() -> None:
    clock = Clock()
    pacer = Pacer(None, clock, clock.sleep)
    pacer.wait()
    pacer.wait()
    assert clock.now == 100.0 and pacer.jitter_ms() is None


def some_batches(count: int) -> Iterator[Batch]:
    for number in range(count):
        yield Batch(number, np.full((1, 2, 2, 3), number, np.uint8), [{"lighting": "day"}])


def test_batches_are_drawn_ahead_but_not_far(bundle: Path) -> None:
    drawn = 0

    def counted() -> Iterator[Batch]:
        nonlocal drawn
        for batch in some_batches(50):
            drawn += 1
            yield batch

    frames = ahead(counted(), 2, lambda: False)
    for number in range(5):
        assert next(frames).start == number
        assert drawn <= number + 4  # one handed out, two waiting, one in the hand of the thread
    frames.close()
    assert drawn < 50
    assert "frames" not in {thread.name for thread in threading.enumerate()}, "no batch is in flight any more"


def test_an_error_of_the_drawing_thread_is_raised_where_it_is_read(tmp_path: Path) -> None:
    def failing() -> Iterator[Batch]:
        yield from some_batches(2)
        raise ValueError("no more")

    target: IO[bytes]
    with open(tmp_path / "out", "wb") as target, pytest.raises(ValueError, match="no more"):
        stream_frames(failing(), target.fileno(), None, 0, None)
    assert (tmp_path / "out").read_bytes() == bytes(12) + bytes([1]) * 12
