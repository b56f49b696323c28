"""A build in a process of its own: it can be interrupted at once, and a crash of the builder is an error like others.

    notes = build_engine(spec, graph_path, target_path, image, width, kept, timing_cache, expected=12.0)

On a terminal a line shows elapsed time, phase, and how much is left by the time of the last build.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tqdm import tqdm

from contract.errors import EdgeError, Refused
from contract.files import write_whole
from contract.frames import ImageShape
from export.engines.spec import EngineSpec

PATIENCE = 5.0
"""Seconds that a process gets to end once it is done or was killed."""

REFRESH = 0.25
"""Seconds between two updates of the line on the terminal."""

Show = Callable[[str], object]
"""Takes the name of the present phase; an empty one only updates the time."""


def build_engine(
    spec: EngineSpec,
    graph: Path,
    target: Path,
    image: ImageShape,
    width: int,
    kept: Collection[str] = (),
    timing_cache: Path | None = None,
    expected: float | None = None,
) -> dict[str, Any]:
    """Build the engine into `target`; what the manifest is to say of it beyond the spec, `seconds` included.

    Raises what the builder raises, OSError where the disk is full, Refused where the process dies. An interrupt kills
    it at once; only whole files are ever written.
    """
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments = (sender, spec, graph, target, image, width, list(kept), timing_cache)
    process = context.Process(target=_child, args=arguments, daemon=True)
    try:
        with _interrupts_ignored():  # which the process inherits: Ctrl-C is for the parent, who kills it
            process.start()
        sender.close()
        with _progress(spec, expected) as show:
            result = _listen(receiver, show)
        process.join(PATIENCE)
    finally:
        if process.pid is not None and process.is_alive():
            process.kill()
            process.join(PATIENCE)
        receiver.close()
    if isinstance(result, BaseException):
        raise result
    if result is None:
        raise Refused(
            f"{spec.name}: {spec.flavor} ended without a word (exit status {process.exitcode}); nothing was built"
        )
    return {**result, "seconds": round(time.monotonic() - started, 2)}


def _listen(receiver: Connection, show: Show) -> Any:
    """The last message: notes, or the exception that ended the build, or None where the process died."""
    while True:
        show("")
        if not receiver.poll(REFRESH):
            continue
        try:
            kind, value = receiver.recv()
        except EOFError:
            return None
        if kind == "phase":
            show(value)
        else:
            return value


def _child(
    sender: Connection,
    spec: EngineSpec,
    graph: Path,
    target: Path,
    image: ImageShape,
    width: int,
    kept: list[str],
    timing_cache: Path | None,
) -> None:
    """In the process: build, write, and report."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # TensorRT's compilers print by themselves what also comes as an error
        os.dup2(nowhere, stream)
    from export.engines.builder import build

    try:
        cached = timing_cache.read_bytes() if timing_cache and timing_cache.is_file() else b""
        phase = lambda name: sender.send(("phase", name))  # noqa: E731
        built = build(spec, graph.read_bytes(), image, width, kept, cached, phase)
        write_whole(target, built.plan)
        if timing_cache and built.timing_cache:
            with contextlib.suppress(OSError):  # it saves time, and the engine is there without it
                write_whole(timing_cache, built.timing_cache)
        sender.send(("done", built.notes))
    except (EdgeError, OSError) as error:
        sender.send(("failed", error))
    except Exception as error:
        sender.send(("failed", Refused(f"{spec.name}: {spec.flavor} says: {type(error).__name__}: {str(error)[:600]}")))


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """For the moment of a start; elsewhere than in the main thread Python leaves interrupts alone anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _progress(spec: EngineSpec, expected: float | None) -> Iterator[Show]:
    """A line on a terminal that vanishes when the block ends; elsewhere nothing."""
    started = time.monotonic()
    with tqdm(bar_format="{desc}", disable=None, leave=False) as line:
        phase = "start"

        def show(name: str) -> None:
            nonlocal phase
            phase = name or phase
            seconds = time.monotonic() - started
            line.set_description_str(f"{spec.precision} engine: {seconds:.0f} s{_left(expected, seconds)}, {phase}")

        yield show


def _left(expected: float | None, seconds: float) -> str:
    """What is left by the time that the last build took, where there was one."""
    if expected is None:
        return ""
    return f", about {expected - seconds:.0f} s left" if seconds < expected else ", longer than the last time"
