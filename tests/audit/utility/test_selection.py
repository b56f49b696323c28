"""Which frames arms take, on cells that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from audit.utility.driving import read_driving
from audit.utility.inputs import read_real
from audit.utility.selection import balanced, cells_of, fill, in_tail, skewed
from contract.errors import Refused
from contract.schemas import CABIN
from tests.audit.utility.conftest import Folders


def test_filling_levels_the_cells() -> None:
    there = np.array([0, 0, 0, 0, 1, 1, 2])
    pool = np.repeat([0, 1, 2, 3], 10)
    chosen = fill(there, pool, 9, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 9
    assert np.bincount(np.concatenate([there, pool[chosen]])).tolist() == [4, 4, 4, 4]


def test_filling_takes_what_there_is() -> None:
    chosen = fill(np.empty(0, np.int64), np.array([0, 1, 1, 1, 1]), 4, np.random.default_rng(0))
    assert 0 in chosen and len(set(chosen.tolist())) == 4
    with pytest.raises(Refused, match="5 frames to choose from; expected 6"):
        fill(np.empty(0, np.int64), np.zeros(5, np.int64), 6, np.random.default_rng(0))


def test_oversampling_balances_the_classes_and_loses_no_frame() -> None:
    task = np.array([0] * 90 + [1] * 8 + [2] * 2)
    rows = balanced([task], 3000, np.random.default_rng(0))
    assert len(rows) == 3000 and len(set(rows.tolist())) == 100
    counts = np.bincount(task[rows])
    assert counts.min() > 0.31 * 3000 and counts.max() < 0.37 * 3000


def test_training_frames_are_as_scarce_as_in_recordings(folders: Folders) -> None:
    real, driving = read_real(folders.real, (), 16), read_driving(None)
    rows = skewed(real, driving.shares, np.arange(1000), 100, np.random.default_rng(0))
    assert len(set(rows.tolist())) == 100
    for name, shares in driving.shares.items():
        frequent = max(shares, key=lambda value: shares[value])
        values = real.values(name)
        index = CABIN.field(name).values.index(frequent)
        assert np.mean(values[rows] == index) > 1.4 * np.mean(values == index)
    tail = in_tail(real, driving.tail)
    assert tail[rows].mean() < 0.7 * tail.mean()


def test_cells_are_combinations(folders: Folders) -> None:
    real = read_real(folders.real, (), 16)
    cells = cells_of(real, ("fatigue_level", "gender"))
    conditions = CABIN.decode(real.frames.conditions)
    for cell, condition in zip(cells[:50], conditions[:50], strict=True):
        fatigue = CABIN.field("fatigue_level").values.index(str(condition["fatigue_level"]))
        assert cell == 2 * fatigue + CABIN.field("gender").values.index(str(condition["gender"]))
