"""Miniature people, a network that remembers them, and both as the files that commands read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audit.privacy.evidence import Evidence, gather
from audit.privacy.fit import fit
from audit.privacy.miniature import draw_people, untrained
from models.checkpoint import Checkpoint, write_checkpoint
from sources.base import LabelledFrames
from sources.shards import ShardDescription, ShardWriter

DRIVERS, FRAMES = 26, 5


def write_people(folder: Path, people: LabelledFrames, first: int = 0, origin: dict[str, Any] | None = None) -> Path:
    """A folder of shards, whose drivers are numbered from `first` on."""
    assert people.subjects is not None
    arrays = {
        "frames": people.frames,
        "conditions": people.conditions,
        "points": np.zeros((len(people.frames), 0, 2), np.float32),
        "hidden": people.hidden,
        "subjects": people.subjects + first,
    }
    description = ShardDescription(people.schema, people.landmarks, len(people.frames), origin or {})
    ShardWriter(folder, description).write(0, arrays)
    return folder


@pytest.fixture(scope="session")
def insiders() -> LabelledFrames:
    return draw_people(DRIVERS, FRAMES, seed=0)


@pytest.fixture(scope="session")
def outsiders() -> LabelledFrames:
    return draw_people(DRIVERS, FRAMES, seed=0, first=DRIVERS)


@pytest.fixture(scope="session")
def evidence(insiders: LabelledFrames, outsiders: LabelledFrames) -> Evidence:
    return gather(insiders, outsiders)


@pytest.fixture(scope="session")
def memorising(insiders: LabelledFrames) -> Checkpoint:
    """A network that was overfitted on the insiders."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # operators this small lose by being shared
    model = fit(untrained(), insiders.frames, insiders.conditions, steps=150)
    torch.set_num_threads(threads)
    return replace(model, sampler=replace(model.sampler, steps=4))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory, insiders: LabelledFrames, outsiders: LabelledFrames) -> Path:
    """`members` and `others`."""
    folder = tmp_path_factory.mktemp("people")
    write_people(folder / "members", insiders)
    write_people(folder / "others", outsiders)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, memorising: Checkpoint) -> Path:
    path = tmp_path_factory.mktemp("model") / "memorising.pt"
    write_checkpoint(path, memorising)
    return path
