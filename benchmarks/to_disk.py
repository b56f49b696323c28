"""Writing frames to disk beside the network alone, and memory and rate of a long run.

seconds = to_disk(bundle, folder, frames=256, batch=16)             # as the command does it
windows = watch(bundle, folder, frames=20_000, size=500)            # from outside, while it runs
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fixtures import ROOT, cpu_backend
from runtime import Generator
from runtime.generate import main as generate

POLL = 0.05


@dataclass(frozen=True)
class Window:
    """A stretch of a long run."""

    frames: int
    seconds: float
    resident: int
    """Bytes of physical memory that the process holds at its end."""


def draw_only(bundle: Path, frames: int, batch: int, precision: str) -> float:
    """Seconds of drawing frames from complete conditions, and nothing else."""
    with Generator.open(bundle, backend=cpu_backend(), precision=precision, batch=batch, annotator="off") as generator:
        vectors = generator.encode([{}] * frames, 1)
        generator.generate(vectors[: 2 * batch], 0)
        started = time.perf_counter()
        generator.generate(vectors, 1)
        return time.perf_counter() - started


def to_disk(bundle: Path, folder: Path, frames: int, batch: int, precision: str, annotator: str) -> float:
    """Seconds of `runtime.generate` from its opened engine to the last record and the contact sheet."""
    options = ["--backend", cpu_backend(), "--precision", precision, "--batch", str(batch), "--annotator", annotator]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = generate([str(bundle), "-o", str(folder), "-n", str(frames), "--seed", "1", *options, "--json"])
    if status:
        raise RuntimeError(f"runtime.generate ended with {status}")
    return float(json.loads(said.getvalue())["seconds"])


def watch(bundle: Path, folder: Path, frames: int, size: int, precision: str) -> list[Window]:
    """`python -m runtime.generate` in a process of its own, seen from outside in windows of `size` frames."""
    command = [sys.executable, "-m", "runtime.generate", str(bundle), "-o", str(folder), "-n", str(frames)]
    command += ["--backend", cpu_backend(), "--precision", precision, "--batch", "16"]
    found: list[Window] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        last, before, lines, place = time.perf_counter(), 0, 0, 0
        while process.poll() is None:
            time.sleep(POLL)
            place, lines = _count_lines(folder / "metadata.jsonl", place, lines)
            if lines // size > before // size:
                now = time.perf_counter()
                found.append(Window(lines - before, now - last, _resident(process.pid)))
                last, before = now, lines
    if process.returncode:
        raise RuntimeError(f"runtime.generate ended with {process.returncode}")
    return found


def _count_lines(path: Path, place: int, lines: int) -> tuple[int, int]:
    """Where the file ends now and how many lines it has, counted on from `place`."""
    if not path.exists():
        return place, lines
    with path.open("rb") as file:
        file.seek(place)
        added = file.read()
    return place + len(added), lines + added.count(b"\n")


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):  # it has just ended
        return 0
