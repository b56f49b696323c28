"""Ctrl-C at every other line of what writes a dataset leaves whole records, which the run then completes."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from contract.dataset import Description, record
from contract.frames import ImageShape
from contract.schemas import CABIN
from runtime.outputs.reader import open_dataset
from runtime.outputs.uninterrupted import uninterrupted
from runtime.outputs.writer import FORMATS, FrameOutput, open_writer

COUNT, BATCH = 3, 1
PLAN = {"cells": [{"set": {}, "grid": [], "each": COUNT}]}
DESCRIPTION = Description("b" * 64, "f" * 64, "c" * 64, CABIN, ImageShape(3, 8, 8), seed=3, count=COUNT, plan=PLAN)
CONDITION = CABIN.complete({}, np.random.default_rng(0))
EVERY = 2
"""Lines from one interrupt to the next: each takes a process."""

INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C ended."""

WRITING = str(Path(sys.modules[FrameOutput.__module__].__file__ or "").parent)


class InterruptAt:
    """Sends SIGINT at the line of that number of the package that writes."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(WRITING):
            return None
        self.left -= event == "line"
        if self.left == 0:
            self.left = -1
            signal.raise_signal(signal.SIGINT)
        return self


def write(folder: Path, description: Description, interrupt: InterruptAt | None = None) -> None:
    """Write what the dataset doesn't hold yet; KeyboardInterrupt where it is interrupted."""
    writer = open_writer(str(folder), description)
    with FrameOutput(writer) as output:
        sys.settrace(interrupt or sys.gettrace())
        for start in range(writer.written, COUNT, BATCH):
            frames = np.full((BATCH, 8, 8, 3), start, np.uint8)
            output.add(frames, [record(index, 3, CONDITION) for index in range(start, start + BATCH)])


def interrupted(folder: Path, description: Description, number: int) -> bool:
    """Whether SIGINT came before a process of its own was over with the dataset."""
    process = os.fork()
    if process == 0:
        try:
            write(folder, description, InterruptAt(number))
            os._exit(0)
        except KeyboardInterrupt:
            os._exit(INTERRUPTED)
        except BaseException:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, INTERRUPTED)
    return code == INTERRUPTED


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("layout", FORMATS)
def test_an_interrupt_leaves_whole_records(layout: str, tmp_path: Path) -> None:
    description = replace(DESCRIPTION, layout=layout)
    write(tmp_path / "whole", description)
    for number in itertools.count(1, EVERY):
        folder = tmp_path / str(number)
        if not interrupted(folder, description, number):
            break
        found = [entry["index"] for entry in open_dataset(folder).records()]
        assert found == list(range(len(found))), f"line {number}"
        write(folder, description)
        assert contents(folder) == contents(tmp_path / "whole"), f"line {number}"
    assert number > 100


def test_a_held_interrupt_comes_at_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done.append("the rest of the block")
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler
