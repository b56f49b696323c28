"""Frames as a raw video stream: uint8, concatenated, at a steady rate, with one line of labels for each frame.

    python -m runtime.generate bundle --raw - --fps 30 --labels labels.jsonl |
        ffmpeg -f rawvideo -pix_fmt rgb24 -s 128x128 -r 30 -i - out.mkv

Batches are drawn on a thread of their own, a few ahead of the clock, so that a slow batch doesn't hold up a frame.
A reader that goes away ends the stream, as do Ctrl-C and SIGTERM: after a whole frame, with a report.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Any

import numpy as np

from contract.errors import UsageError
from runtime.batch import Batch

AHEAD = 2
"""Batches that may wait for the clock."""

JITTER_WINDOW = 100_000
"""Frames that the reported jitter is about, the last ones: a stream has no end, memory has."""

NAP = 0.1
"""Seconds after which a wait looks whether it was stopped."""

PIXEL_FORMATS = {1: "gray", 3: "rgb24", 4: "rgba"}
"""What ffmpeg and GStreamer call frames of that many channels."""


@dataclass(frozen=True)
class Outcome:
    """How a stream ended."""

    frames: int

    seconds: float
    """From the first frame on; the first batch and its warm-up are no part of the rate."""

    ended: str
    """`count`: all were written; `reader`: it went away; `stopped`: Ctrl-C or SIGTERM."""

    fps: float | None
    """Requested rate, None where frames go out as they come."""

    jitter_ms: tuple[float, float] | None
    """p50 and p99 of how far the time between two frames is from 1/fps."""

    late: int
    """Frames that were more than a period late; the clock then restarts."""

    agreeing: int | None = None
    """Frames that agree with their condition, None where no annotator ran."""

    rejected: int | None = None
    """Attempts that were rejected, None without rejection sampling."""

    def to_dict(self) -> dict[str, Any]:
        p50, p99 = self.jitter_ms or (None, None)
        rate = (self.frames - 1) / self.seconds if self.frames > 1 and self.seconds else 0.0
        return {
            "frames": self.frames,
            "seconds": round(self.seconds, 6),
            "ended": self.ended,
            "fps": self.fps,
            "frames_per_second": round(rate, 3),
            "jitter_ms_p50": p50,
            "jitter_ms_p99": p99,
            "late": self.late,
            "agreeing": self.agreeing,
            "rejected": self.rejected,
        }


class Pacer:
    """Holds frames back until they are due."""

    def __init__(
        self,
        fps: float | None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.late = 0
        self._period = 1.0 / fps if fps else None
        self._clock, self._sleep = clock, sleep
        self._due: float | None = None
        self._last: float | None = None
        self._jitter: deque[float] = deque(maxlen=JITTER_WINDOW)

    def wait(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Return when the next frame is due, or at once where it is late or the stream was stopped."""
        now = self._clock()
        if self._period is None:
            return
        if self._due is None or now > self._due + self._period:
            self.late += self._due is not None
            self._due = now  # no burst of frames to catch up: what reads them runs in real time
        while now < self._due and not stopped():
            self._sleep(min(self._due - now, NAP))
            now = self._clock()
        if self._last is not None:
            self._jitter.append(abs(now - self._last - self._period))
        self._last, self._due = now, self._due + self._period

    def jitter_ms(self) -> tuple[float, float] | None:
        """p50 and p99 in milliseconds, None where nothing was paced."""
        if not self._jitter:
            return None
        p50, p99 = np.percentile(np.fromiter(self._jitter, dtype=np.float64), [50, 99]) * 1000
        return round(float(p50), 4), round(float(p99), 4)


class Stop:
    """Set by the first Ctrl-C or SIGTERM, so that the frame under way is still written whole; a second one interrupts.

    Outside the main thread, where Python takes no signal handlers, it stays unset.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.requested

    def _request(self, number: int, frame: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def stream_frames(batches: Iterable[Batch], video: int, labels: int | None, seed: int, fps: float | None) -> Outcome:
    """Write the frames of all batches to the descriptor `video`, and their labels to `labels`.

    `labels` gets a JSON object a line: index, seed, every schema field, `synthetic: true`, and what an annotator read;
    each line goes out before its frame.
    """
    pacer, count, ended = Pacer(fps), 0, "count"
    agreeing: int | None = None
    rejected: int | None = None
    with Stop() as stop, contextlib.closing(ahead(batches, AHEAD, stop)) as ready:
        started = time.perf_counter()
        try:
            for batch in ready:
                for row, (frame, condition) in enumerate(zip(batch.frames, batch.conditions, strict=True)):
                    pacer.wait(stop)
                    if stop():
                        break
                    reading = batch.reading(row)
                    if labels is not None:
                        entry = {"index": batch.start + row, "seed": seed, **condition, "synthetic": True, **reading}
                        write_all(labels, json.dumps(entry, allow_nan=False).encode() + b"\n")
                    write_all(video, np.ascontiguousarray(frame).data.cast("B"))
                    count += 1
                    if "agrees" in reading:
                        agreeing = (agreeing or 0) + reading["agrees"]
                    if "tries" in reading:
                        rejected = (rejected or 0) + reading["tries"] - 1
                    if count == 1:
                        started = time.perf_counter()
                if stop():
                    break
        except BrokenPipeError:
            ended = "reader"
        if stop():
            ended = "stopped"
        seconds = time.perf_counter() - started
    return Outcome(count, seconds, ended, fps, pacer.jitter_ms(), pacer.late, agreeing, rejected)


def ahead(batches: Iterable[Batch], size: int, stop: Callable[[], bool]) -> Generator[Batch, None, None]:
    """The same batches, drawn on another thread up to `size` in advance; its error is raised here."""
    queue: Queue[Batch | BaseException | None] = Queue(size)
    left = threading.Event()

    def put(item: Batch | BaseException | None) -> bool:
        while not left.is_set():
            with contextlib.suppress(Full):
                queue.put(item, timeout=NAP)
                return True
        return False

    def draw() -> None:
        try:
            for batch in batches:
                if not put(batch):
                    return
            put(None)
        except BaseException as error:  # whatever it is, it belongs to the thread that reads
            put(error)
        finally:
            if isinstance(batches, Generator):  # no batch may be in flight when the engine is closed
                batches.close()

    thread = threading.Thread(target=draw, name="frames", daemon=True)
    thread.start()
    try:
        while not stop():
            with contextlib.suppress(Empty):
                item = queue.get(timeout=NAP)
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
    finally:
        left.set()
        thread.join()


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write everything, however little the pipe takes at once."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def descriptor(text: str) -> int | str:
    """An argument type: a number is an open file descriptor that takes writing, anything else a file name.

    Asked for while the command line is read, before the program opens files of its own under that number.
    """
    if not text.isdecimal():
        return text
    number = int(text) if len(text) < 6 else -1
    try:
        os.fstat(number)
        os.write(number, b"")
    except OSError:
        message = f"{text}: no open file descriptor to write to; redirect it: {text}>FILE"
        raise argparse.ArgumentTypeError(message) from None
    return number


@contextlib.contextmanager
def opened(target: int | str) -> Iterator[int]:
    """The descriptor itself, or one of the file, which is made or emptied; a named pipe is taken as it is."""
    if isinstance(target, int):
        yield target
        return
    number = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        yield number
    finally:
        os.close(number)


def check_video(target: int) -> None:
    """UsageError where frames would be written onto a terminal."""
    if os.isatty(target):
        raise UsageError("--raw -: standard output is a terminal; pipe it into a program, or redirect it into a file")
