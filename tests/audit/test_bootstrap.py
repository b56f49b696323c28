"""Intervals cover what they should, whatever figure they are of."""

from __future__ import annotations

import numpy as np

from audit.stats.bootstrap import group_resamples, interval, moved_interval, resamples


def test_resamples_repeat_frames_and_are_seeded() -> None:
    weights = resamples(50, 20)
    assert weights.shape == (20, 50) and (weights.sum(axis=1) == 50).all() and (weights > 1).any()
    assert np.array_equal(weights, resamples(50, 20))
    assert not np.array_equal(weights, resamples(50, 20, seed=1))


def test_the_interval_of_a_share_covers_the_truth_as_often_as_it_says() -> None:
    generator, covered = np.random.default_rng(0), []
    for _ in range(300):
        right = (generator.random(200) < 0.8).astype(float)
        low, high = interval(resamples(200, 400) @ right / 200)
        covered.append(low <= 0.8 <= high)
        assert 0.05 < high - low < 0.16  # 2 x 1.96 x sqrt(0.8 x 0.2 / 200) = 0.111
    assert 0.90 <= np.mean(covered) <= 0.99


def test_frames_of_one_group_are_drawn_together() -> None:
    weights = group_resamples(np.array([7, 7, 3, 9, 3]), 30)
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 2] == weights[:, 4]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all(), "three groups, drawn three times"
    assert np.array_equal(group_resamples(np.arange(50), 20), resamples(50, 20)), "of one frame each: frames"


def test_a_moved_interval_holds_its_figure_and_stays_above_the_least() -> None:
    samples = np.random.default_rng(1).normal(7.0, 1.0, 4000)
    low, high = moved_interval(1.0, samples, least=0.0)
    assert low == 0.0 and 2.7 < high < 3.2
    assert np.allclose(moved_interval(7.0, samples), interval(samples), atol=0.05)


def test_a_figure_that_no_resample_has_is_no_number() -> None:
    assert np.isnan(interval(np.full(5, np.nan))).all()
