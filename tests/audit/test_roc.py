"""Area under the curve, rates and permutation p-values against closed forms and hand-computed cases."""

from __future__ import annotations

import numpy as np
import pytest

from audit.stats.roc import auc, best_threshold, permutation_p_value, rate_above, tpr_at

SCORES = np.array([1.0, 2.0, 3.0, 4.0, 4.0])
MEMBERS = np.array([False, True, False, True, False])


def test_auc_counts_pairs_and_half_of_ties() -> None:
    """Of 6 pairs: 2 beats 1; 4 beats 1 and 3, and ties with 4."""
    assert auc(SCORES, MEMBERS)[0] == pytest.approx((1 + 2 + 0.5) / 6)


def test_weights_repeat_frames() -> None:
    weights = np.array([[1.0, 1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 1.0, 3.0, 1.0]])
    repeated = np.repeat(np.arange(5), weights[1].astype(int))
    expected = [auc(SCORES, MEMBERS)[0], auc(SCORES[repeated], MEMBERS[repeated])[0]]
    assert auc(SCORES, MEMBERS, weights) == pytest.approx(expected)
    assert rate_above(2.5, SCORES, MEMBERS, weights) == pytest.approx([0.5, 1.0])


def test_true_positive_rate_allows_no_more_false_positives() -> None:
    scores, members = np.arange(200.0), np.arange(200) % 2 == 1
    scores[members] += 40.0
    # one of a hundred non-members may lie above: members above the second highest non-member (196)
    assert tpr_at(0.01, scores, members)[0] == pytest.approx((scores[members] > 196).mean())
    assert tpr_at(0.0, np.zeros(4), np.array([True, True, False, False]))[0] == 0.0


def test_best_threshold_separates() -> None:
    assert best_threshold(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])) == pytest.approx(0.5)


def test_p_value_of_a_perfect_score_is_the_smallest() -> None:
    drivers = np.repeat(np.arange(40), 2)
    members = drivers < 20
    assert permutation_p_value(members.astype(float), members, drivers, 199) == 1 / 200
