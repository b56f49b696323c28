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


def test_oversampling_spends_nothing_on_what_frames_hide() -> None:
    hidden = np.array([0] * 80 + [1] * 10 + [-1] * 10)
    rows = balanced([hidden], 3000, np.random.default_rng(0))
    assert np.count_nonzero(hidden[rows] < 0) == 10, "each frame once, as every frame"
    assert 0.47 * 3000 < np.count_nonzero(hidden[rows] == 1) < 0.53 * 3000


def test_training_frames_are_as_scarce_as_in_recordings(folders: Folders) -> None:
    real, driving = read_real(folders.real, (), 16), read_driving(None)
    draws = [skewed(real, driving, np.arange(1000), 150, np.random.default_rng(seed)) for seed in range(20)]
    assert all(len(set(rows.tolist())) == 150 for rows in draws)
    rows = np.concatenate(draws)
    for name, shares in driving.shares.items():
        values, known = real.labels(name), CABIN.field(name).values
        frequent = known.index(max(shares, key=lambda value: shares[value]))
        assert np.mean(values[rows] == frequent) > 1.4 * np.mean(values == frequent)
        for value in driving.tail[name]:
            assert abs(np.mean(values[rows] == known.index(value)) - shares[value]) < 0.01, (name, value)
    assert in_tail(real, driving.tail)[rows].mean() < 0.4 < in_tail(real, driving.tail).mean()


def test_all_frames_where_there_are_no_more(folders: Folders) -> None:
    real, driving = read_real(folders.real, (), 16), read_driving(None)
    rows = np.array([7, 3, 5])
    assert skewed(real, driving, rows, 3, np.random.default_rng(0)).tolist() == [3, 5, 7]
    assert len(set(skewed(real, driving, np.arange(1000), 990, np.random.default_rng(0)).tolist())) == 990


def test_the_night_is_scarce_although_near_infrared_looks_the_same_by_day(folders: Folders) -> None:
    real, driving = read_real(folders.real, (), 16), read_driving(None)
    night = real.labels("lighting") == CABIN.field("lighting").values.index("night")
    unseen = night & (real.classes("lighting") == -1)
    assert unseen.any() and in_tail(real, {"lighting": ["night"]})[unseen].all()
    rows = skewed(real, driving, np.arange(1000), 200, np.random.default_rng(0))
    assert night[rows].mean() < 0.6 * night.mean()


def test_a_label_that_nobody_gave_is_neither_rare_nor_frequent(folders: Folders) -> None:
    real, driving = read_real(folders.real, (), 16), read_driving(None)
    night, half = real.labels("lighting") == CABIN.field("lighting").values.index("night"), np.arange(1000) % 2 == 0
    unlabelled = np.zeros_like(real.frames.hidden)
    unlabelled[half, CABIN.names.index("lighting")] = True
    partly = replace(real, frames=replace(real.frames, unlabelled=unlabelled))
    assert (partly.labels("lighting")[half] == -1).all()
    np.testing.assert_array_equal(in_tail(partly, {"lighting": ["night"]}), night & ~half)
    light = replace(driving, shares={"lighting": driving.shares["lighting"]}, tail={"lighting": ("night",)})
    rows = np.concatenate([skewed(partly, light, np.arange(1000), 300, np.random.default_rng(s)) for s in range(10)])
    known = rows[~half[rows]]
    assert abs(night[known].mean() - driving.shares["lighting"]["night"]) < 0.02
    assert abs(night[rows[half[rows]]].mean() - night[half].mean()) < 0.05
