"""Intervals and comparisons of arms whose answers are made by hand: a driver's frames are all right or all wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from audit.utility.scores import Scores

DRIVERS, FRAMES = 20, 10
"""FRAMES of each driver."""

BOOTSTRAP = 0.2
"""Relative, of a width of 0.43: both ends are multiples of a twentieth, the share of one driver."""

LUCK = 0.05
"""Of a p-value of a half: four standard deviations of the share of 1999 random swaps."""

GROUPS = np.repeat(np.arange(DRIVERS), FRAMES)
TRUE = np.arange(DRIVERS * FRAMES) % 2


def answers(right: float, drivers: range) -> np.ndarray:
    """One seed's answers [frames]: a share of the frames of these drivers is right, those of all others are wrong."""
    known = np.isin(GROUPS, drivers) & (np.arange(DRIVERS * FRAMES) % FRAMES < right * FRAMES)
    return np.where(known, TRUE, 1 - TRUE)


def scores_of(**arms: list[np.ndarray]) -> Scores:
    """Scores of a single task of two classes, from each arm's answers by seed."""
    subsets = {"all": np.ones(DRIVERS * FRAMES, bool)}
    found = {arm: np.stack(seeds)[None] for arm, seeds in arms.items()}
    return Scores(("fatigue_level",), (2,), TRUE[None], found, GROUPS, subsets)


def right_for(*drivers: range) -> dict[str, list[np.ndarray]]:
    """Arms `a`, `b` .. whose two seeds are right for the first, second .. of these drivers."""
    return {"abcd"[number]: [answers(1.0, chosen)] * 2 for number, chosen in enumerate(drivers)}


def test_an_interval_is_as_wide_as_so_many_drivers_make_it() -> None:
    scores = scores_of(**right_for(range(12)))
    found = scores.figures("a", scores.subsets["all"])["accuracy"]
    assert found["mean"] == 0.6
    width = 2 * 1.96 * math.sqrt(0.6 * 0.4 / DRIVERS)  # of frames by themselves it would be less than a third of that
    assert found["high"] - found["low"] == pytest.approx(width, rel=BOOTSTRAP)


def test_an_interval_holds_what_other_seeds_would_give() -> None:
    """All drivers are alike, so that nothing else differs between resamples."""
    everyone = range(DRIVERS)
    scores = scores_of(a=[answers(1.0, everyone), answers(0.5, everyone)])
    found = scores.figures("a", scores.subsets["all"])["accuracy"]
    assert found == pytest.approx({"mean": 0.75, "low": 0.5, "high": 1.0})


@pytest.mark.parametrize("others", [["b", "c"], ["c", "b"]], ids="-".join)
def test_an_arm_is_compared_with_the_best_of_the_others(others: list[str]) -> None:
    """`b` is right for two drivers more, `c` for ten fewer, so that only the first difference may be luck."""
    found = scores_of(**right_for(range(12), range(14), range(2))).compare("a", others, "all", "accuracy")
    assert found["difference"]["mean"] == pytest.approx(-0.1)
    assert found["difference"]["low"] < found["difference"]["mean"] < found["difference"]["high"] <= 0.0
    assert found["p"] == pytest.approx(0.5, abs=LUCK), "two drivers swapped, or neither: half of all swaps"


def test_an_arm_that_beats_both_of_the_others_is_compared_with_the_better() -> None:
    found = scores_of(**right_for(range(12), range(10), range(2))).compare("a", ["b", "c"], "all", "accuracy")
    assert found["difference"]["mean"] == pytest.approx(0.1)
    assert found["p"] == pytest.approx(0.5, abs=LUCK)


def test_the_best_of_the_others_is_taken_in_each_resample() -> None:
    """Each of the others is right where the other isn't: one of them gains whatever drivers are drawn."""
    everyone, half = range(DRIVERS), DRIVERS // 2
    scores = scores_of(**right_for(everyone, range(half), range(half, DRIVERS)))
    found = scores.compare("a", ["b", "c"], "all", "accuracy")["difference"]
    assert found["mean"] == found["high"] == 0.5 and found["low"] < 0.4
