"""Which frames arms take, on strata that can be counted by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from audit.utility.driving import read_driving
from audit.utility.inputs import read_real
from audit.utility.selection import balanced, fill, in_tail, skewed
from contract.schemas import CABIN
from tests.audit.utility.conftest import Folders


def strata(*counts: int) -> list[tuple[str, ...]]:
    """So many frames of the strata a, b, c ..."""
    return [("abcd"[number],) for number, count in enumerate(counts) for _ in range(count)]


def test_filling_levels_the_strata() -> None:
    there, pool = strata(4, 2, 1), strata(10, 10, 10, 10)
    chosen = fill(there, pool, 9, np.random.default_rng(0))
    assert len(set(chosen.tolist())) == 9
    assert Counter([*there, *(pool[row] for row in chosen)]) == Counter(strata(4, 4, 4, 4))


def test_filling_takes_what_there_is() -> None:
    chosen = fill([], strata(1, 4), 4, np.random.default_rng(0))
    assert 0 in chosen and len(set(chosen.tolist())) == 4


def test_no_stratum_is_preferred_where_frames_run_out() -> None:
    pool = strata(9, 9, 9, 9)
    first = Counter(pool[row] for seed in range(200) for row in fill([], pool, 1, np.random.default_rng(seed)))
    assert set(first) == set(pool) and max(first.values()) < 90


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
        values = real.labels(name)
        index = CABIN.field(name).values.index(frequent)
        assert np.mean(values[rows] == index) > 1.4 * np.mean(values == index)
    tail = in_tail(real, driving.tail)
    assert tail[rows].mean() < 0.7 * tail.mean()


def test_the_night_is_scarce_although_near_infrared_looks_the_same_by_day(folders: Folders) -> None:
    real = read_real(folders.real, (), 16)
    night = real.labels("lighting") == CABIN.field("lighting").values.index("night")
    unseen = night & (real.classes("lighting") == -1)
    assert unseen.any() and in_tail(real, {"lighting": ["night"]})[unseen].all()
    shares = {"lighting": read_driving(None).shares["lighting"]}
    rows = skewed(real, shares, np.arange(1000), 300, np.random.default_rng(0))
    assert night[rows].mean() < night.mean()


def test_a_label_that_nobody_gave_is_neither_rare_nor_frequent(folders: Folders) -> None:
    real, driving = read_real(folders.real, (), 16), read_driving(None)
    night, half = real.labels("lighting") == CABIN.field("lighting").values.index("night"), np.arange(1000) % 2 == 0
    unlabelled = np.zeros_like(real.frames.hidden)
    unlabelled[half, CABIN.names.index("lighting")] = True
    partly = replace(real, frames=replace(real.frames, unlabelled=unlabelled))
    assert (partly.labels("lighting")[half] == -1).all() and in_tail(real, {"lighting": ["night"]})[night].all()
    np.testing.assert_array_equal(in_tail(partly, {"lighting": ["night"]}), night & ~half)
    shares = {"lighting": driving.shares["lighting"]}
    rows = skewed(partly, shares, np.arange(1000), 300, np.random.default_rng(0))
    nights = night[half].sum()
    # without weights, 300 of 1000 are taken
    assert 0.2 * nights < (night & half)[rows].sum() < 0.4 * nights
    assert (night & ~half)[rows].sum() < 0.2 * (night & ~half).sum()
