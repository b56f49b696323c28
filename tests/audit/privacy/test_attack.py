"""Three arms, splits by driver, intervals, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from audit.privacy.attack import (
    BLACK_BOX,
    WHITE_BOX,
    Counts,
    Finding,
    Population,
    gain_of,
    membership_finding,
    score_membership,
)
from audit.privacy.subject import driver_finding
from contract.errors import Refused

DRIVERS = np.repeat(np.arange(60), 4)
MEMBERS = DRIVERS < 30


@pytest.fixture
def population() -> Population:
    return Population.split(MEMBERS, DRIVERS)


def test_whole_drivers_fall_into_one_part(population: Population) -> None:
    for part in (population.scored, population.reference, population.tuning):
        assert part.any() and set(DRIVERS[part]).isdisjoint(DRIVERS[~part])
    assert not (population.reference & MEMBERS).any()
    assert (population.scored.astype(int) + population.reference + population.tuning == 1).all()


def test_risk_is_what_members_lose_beyond_others() -> None:
    found = gain_of(np.array([0.75, 0.2, 1.0, 0.3]), np.array([0.5, 0.5, 1.0, 0.0]))
    assert found == pytest.approx([0.5, -0.3, 0.0, 0.3])


def test_a_score_that_knows_everything_is_certain(population: Population) -> None:
    finding = membership_finding("oracle", WHITE_BOX, MEMBERS[None].astype(float), population)
    assert finding.risk == finding.figures["auc"] == 1.0
    assert finding.main.rate == 1.0 and finding.control.rate == 0.0
    assert finding.p_value == 1 / 200 and finding.upper_bound(10) == 1.0


def test_a_score_that_knows_nothing_covers_chance(population: Population) -> None:
    scores = np.random.default_rng(3).normal(size=(1, len(MEMBERS)))
    finding = membership_finding("noise", WHITE_BOX, scores, population)
    assert finding.covers_chance(1) and finding.p_value > 0.01


def test_the_variant_is_chosen_where_nothing_is_scored(population: Population) -> None:
    """A variant that is right on the scored frames alone must not be found."""
    noise = np.random.default_rng(0).normal(size=len(MEMBERS))
    cheat = np.where(population.scored, MEMBERS, noise * 1e-3)
    honest = np.where(population.tuning, MEMBERS, noise)
    finding = membership_finding("choice", WHITE_BOX, np.stack([cheat, honest]), population)
    assert finding.figures["variant"] == 1 and finding.figures["auc"] < 0.75


def test_many_weak_signals_of_a_driver_add_up() -> None:
    drivers = np.repeat(np.arange(80), 25)
    members = drivers < 40
    population = Population.split(members, drivers)
    scores = (np.random.default_rng(1).normal(size=len(drivers)) + 0.4 * members)[None]
    frame = membership_finding("weak", WHITE_BOX, scores, population)
    driver = driver_finding("weak", WHITE_BOX, scores, population)
    assert frame.figures["auc"] < 0.7 < 0.9 < driver.figures["auc"]


def test_low_rates_are_refused_for_too_few_non_members(population: Population) -> None:
    finding = membership_finding("few", WHITE_BOX, MEMBERS[None].astype(float), population)
    low = finding.figures["tpr_at_fpr"]["0.001"]
    assert low["value"] is None and "10000 are needed" in low["reason"]


def test_nothing_found_among_few_still_leaves_a_risk() -> None:
    """None of 5 drivers, however many frames: at 95 %, up to 1 - 0.05^(1 / 5) may have been missed."""
    finding = Finding("none", BLACK_BOX, Counts(0, 20), Counts(0, 20), 0.0, 0.0, np.zeros(1000), (5, 5), 1.0)
    assert finding.upper_bound(1) == pytest.approx(1 - 0.05 ** (1 / 5))
    alike = replace(finding, main=Counts(20, 20), control=Counts(20, 20))
    assert alike.upper_bound(1) == pytest.approx(1 - 0.05 ** (1 / 5)), "of others, some may be told apart"
    assert replace(finding, main=Counts(3, 20)).upper_bound(1) == 0.0


@pytest.mark.parametrize(("rate", "control"), [(0.5, 0.5), (0.1, 0.1)])
def test_the_bound_of_many_attacks_holds_for_their_number(rate: float, control: float) -> None:
    """A bound for 20 attacks may miss once in 400; of 200 draws, 7 or more misses have a chance of one in a million."""
    generator, missed = np.random.default_rng(0), 0
    drivers = np.repeat(np.arange(100), 4)
    members = drivers < 60
    for _ in range(200):
        chance = (
            generator.beta(*(2 * np.array([[rate], [1 - rate]])), 60),
            generator.beta(2 * control, 2 - 2 * control, 40),
        )
        scores = (generator.random(400) < np.repeat(np.concatenate(chance), 4)).astype(float)
        finding = score_membership("any", WHITE_BOX, scores, members, drivers, 0.5)
        missed += finding.upper_bound(20) < rate - control
    assert missed < 7


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_without_a_value_are_refused(population: Population, value: float) -> None:
    scores = MEMBERS[None].astype(float)
    scores[0, 5] = value
    with pytest.raises(Refused, match="aren't finite"):
        membership_finding("broken", WHITE_BOX, scores, population)


def test_one_side_alone_is_refused() -> None:
    with pytest.raises(Refused, match="0 drivers among the non-members"):
        Population.split(np.ones(len(DRIVERS), bool), DRIVERS)
