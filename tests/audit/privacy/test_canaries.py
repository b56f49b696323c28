"""Lower bounds on epsilon from canaries."""

from __future__ import annotations

import numpy as np
import pytest

from audit.privacy.canaries import draw_canaries, epsilon_lower_bound, p_value
from audit.privacy.miniature import SCHEMA
from audit.stats.proportions import binomial_pmf
from contract.errors import Refused
from contract.frames import ImageShape

DELTA = 1e-5


def test_p_value_without_delta_is_a_binomial_tail() -> None:
    """Each guess is right with probability e / (1 + e) at epsilon 1."""
    assert p_value(40, 50, 50, 1.0, 0.0) == pytest.approx(binomial_pmf(50, np.e / (1 + np.e))[40:].sum())
    assert p_value(40, 50, 50, 1.0, 1e-3) > p_value(40, 50, 50, 1.0, 0.0)


def test_everything_guessed_shows_the_ceiling() -> None:
    included = np.arange(200) % 2 == 0
    found = epsilon_lower_bound(included.astype(float), included, DELTA)
    assert found["epsilon"] == found["ceiling"] > 3.0
    assert found["right"] == found["guesses"] == 200


def test_more_canaries_can_show_more() -> None:
    ceilings = [
        epsilon_lower_bound(np.zeros(count), np.arange(count) % 2 == 0, DELTA)["ceiling"] for count in (20, 100, 400)
    ]
    assert ceilings == sorted(ceilings) and ceilings[0] < ceilings[-1]


def test_guessing_shows_next_to_nothing() -> None:
    """At 95 % confidence, at most one run in twenty may show more than nothing."""
    runs = 40
    generator = np.random.default_rng(0)
    shown = [
        epsilon_lower_bound(generator.normal(size=100), generator.random(100) < 0.5, DELTA)["epsilon"] > 1e-6
        for _ in range(runs)
    ]
    assert sum(shown) <= 6  # P[more than 6 of 40 at 5 %] < 0.01


def test_canaries_are_seeded_and_half_are_included() -> None:
    frames, conditions, included = draw_canaries(SCHEMA, ImageShape(3, 16, 16), 400, seed=5)
    again = draw_canaries(SCHEMA, ImageShape(3, 16, 16), 400, seed=5)
    assert (frames == again[0]).all() and (included == again[2]).all()
    assert 150 < included.sum() < 250 and len({frame.tobytes() for frame in frames}) == 400
    assert np.isfinite(conditions).all()


def test_too_few_or_all_of_one_kind() -> None:
    with pytest.raises(Refused, match="10 canaries"):
        epsilon_lower_bound(np.zeros(10), np.arange(10) < 5, DELTA)
    with pytest.raises(Refused, match="some left out"):
        epsilon_lower_bound(np.zeros(30), np.ones(30, bool), DELTA)
