"""Every attack has three arms: main (members), control (non-members) and baseline (guessing); it delivers counts.

    population = Population.split(members, drivers, seed=0)
    finding = membership_finding("loss", "white box", scores, population)      # scores [variants, N]
    finding.risk, finding.figures["auc"]

The risk, 0 to 1, is what the attack gains on members beyond what it gains on people whom the model has never seen.
Where both arms count right guesses it is (main - control) / (1 - control) (Giomi et al. 2022, arXiv 2211.10459); of
membership, where a guess that is right for a member is wrong for others, it is the advantage, main - control (Yeom et
al. 2018, arXiv 1709.01604).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from audit.stats.bootstrap import SHARE, Array, Interval, group_resamples, interval
from audit.stats.roc import Bools, auc, best_threshold, permutation_p_value, rate_above, tpr_at
from contract.errors import Refused
from contract.noise import stream

Indices = npt.NDArray[np.int64]

FEWEST_DRIVERS = 12
"""On either side: a third of them is the fewest that one can resample."""

FEWEST_FOR = {0.01: 100, 0.001: 10_000}
"""Non-members below which a true positive rate at that false positive rate isn't reported: it would rest on nobody."""

TINY = 1e-12
WHITE_BOX, BLACK_BOX = "white box", "black box"


@dataclass(frozen=True)
class Population:
    """Who is a member, whose frame it is, and what is scored; whole drivers fall into one part."""

    members: Bools
    """[N]"""
    drivers: Indices
    """[N]"""
    reference: Bools
    """[N]: non-members that stand for the world in black-box attacks, and are neither tuned on nor scored"""
    scored: Bools
    """[N]; variant and threshold of an attack are chosen on the others"""

    @staticmethod
    def split(members: Bools, drivers: Indices, seed: int = 0) -> Population:
        """A third of the non-member drivers as reference, and half of the other drivers of each side to be scored."""
        reference, scored = np.zeros(len(members), bool), np.zeros(len(members), bool)
        generator = stream(seed, len(members), 0)
        sides = [generator.permutation(np.unique(drivers[members == side])) for side in (False, True)]
        for name, side in zip(("non-members", "members"), sides, strict=True):
            if len(side) < FEWEST_DRIVERS:
                raise Refused(f"{len(side)} drivers among the {name}; expected {FEWEST_DRIVERS} or more to choose from")
        outside, inside = sides
        third = len(outside) // 3
        reference[np.isin(drivers, outside[:third])] = True
        scored[np.isin(drivers, outside[third::2])] = True
        scored[np.isin(drivers, inside[::2])] = True
        return Population(members, drivers, reference, scored)

    @property
    def tuning(self) -> Bools:
        """[N]: what variant and threshold are chosen on."""
        return ~self.scored & ~self.reference


@dataclass(frozen=True)
class Counts:
    """Attempts of one arm, and how many succeeded."""

    successes: int
    attempts: int

    @property
    def rate(self) -> float:
        return self.successes / self.attempts if self.attempts else float("nan")


@dataclass(frozen=True)
class Finding:
    """What one attack found."""

    name: str
    access: str
    main: Counts
    control: Counts
    baseline: float
    """Success rate of guessing without the model."""
    gain: float
    """What members lose beyond others; below 0 where others fared worse"""
    gains: Array = field(repr=False)
    """[R]: the same over resamples of the drivers"""
    drivers: tuple[int, int]
    """Of main and control: they, and not their frames, are independent of each other"""
    p_value: float
    """Of the hypothesis that members fare no worse than non-members."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What else this kind of attack reports: AUC and rates with intervals, the chosen variant."""

    @property
    def risk(self) -> float:
        """0 to 1: the gain, and 0 where others fared worse."""
        return float(np.clip(self.gain, 0.0, 1.0))

    @property
    def interval(self) -> Interval:
        """95 % of the risk, by driver."""
        low, high = np.clip(interval(self.gains), 0.0, 1.0).tolist()
        return low, high

    def upper_bound(self, attacks: int) -> float:
        """What the risk stays below with 95 % certainty for all of so many attacks together (Bonferroni).

        The larger of a quantile of the resamples and of a normal distribution's; where an arm has one outcome only,
        resamples have no spread, and the bound of as many drivers with that outcome alone is added.
        """
        doubt = (1.0 - SHARE) / max(attacks, 1)
        spread = NormalDist().inv_cdf(1.0 - doubt) * float(np.nanstd(self.gains))
        if self.main.successes == 0:
            spread = max(spread, _none_of(self.drivers[0], doubt))
        if self.control.successes == self.control.attempts:
            spread = max(spread, _none_of(self.drivers[1], doubt))
        return float(np.clip(max(self.gain + spread, np.nanquantile(self.gains, 1.0 - doubt)), 0.0, 1.0))

    def covers_chance(self, attacks: int) -> bool:
        """Whether the interval of the AUC covers 0.5 with 95 % certainty for so many attacks together (Bonferroni)."""
        quantile = NormalDist().inv_cdf(1.0 - (1.0 - SHARE) / (2 * max(attacks, 1)))
        return bool(abs(self.figures["auc"] - 0.5) <= quantile * self.figures["auc_deviation"])

    def to_dict(self) -> dict[str, Any]:
        arms = {name: vars(counts) | {"rate": counts.rate} for name, counts in self._arms().items()}
        return {
            "attack": self.name,
            "access": self.access,
            **arms,
            "baseline": {"rate": self.baseline},
            "drivers": {"main": self.drivers[0], "control": self.drivers[1]},
            "risk": self.risk,
            "risk_interval": self.interval,
            "p_value": self.p_value,
            **self.figures,
        }

    def _arms(self) -> dict[str, Counts]:
        return {"main": self.main, "control": self.control}


def gain_of(main: Array, control: Array) -> Array:
    """(main - control) / (1 - control) of rates of right guesses, and main - control where that is less than 0."""
    difference = main - control
    return np.asarray(np.where(difference > 0.0, difference / np.maximum(1.0 - control, TINY), difference))


def _none_of(count: int, doubt: float) -> float:
    """The largest probability of an event that none of `count` drivers showed, unless that has a chance of `doubt`."""
    return 1.0 - doubt ** (1.0 / count) if count else 1.0


def choose_variant(scores: Array, population: Population) -> int:
    """The row of scores [V, N] that tells members best on the frames that aren't scored."""
    chosen = population.tuning
    return int(np.argmax([auc(row[chosen], population.members[chosen])[0] for row in scores]))


def membership_finding(name: str, access: str, scores: Array, population: Population, seed: int = 0) -> Finding:
    """How well scores [V, N] (higher: rather a member) tell members; Refused where one isn't a finite number."""
    if not np.isfinite(scores).all():
        raise Refused(f"attack {name!r}: scores that aren't finite; expected frames and weights without NaN")
    variant = choose_variant(scores, population)
    tuning = population.tuning
    threshold = best_threshold(scores[variant][tuning], population.members[tuning])
    chosen = population.scored
    return score_membership(
        name,
        access,
        scores[variant][chosen],
        population.members[chosen],
        population.drivers[chosen],
        threshold,
        {"variant": variant},
        seed,
    )


def score_membership(
    name: str,
    access: str,
    scores: Array,
    members: Bools,
    drivers: Indices,
    threshold: float,
    figures: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Finding:
    """The finding of scores [N] at a threshold that was chosen elsewhere."""
    weights = group_resamples(drivers, seed=seed)
    area = auc(scores, members, weights)
    rates = {str(rate): _rate_at(rate, scores, members, weights) for rate in FEWEST_FOR}
    main, control = (rate_above(threshold, scores, side, weights) for side in (members, ~members))
    counts = [Counts(int((scores[side] > threshold).sum()), int(side.sum())) for side in (members, ~members)]
    known = dict(figures or {}) | {
        "auc": float(auc(scores, members)[0]),
        "auc_interval": interval(area),
        "auc_deviation": float(np.nanstd(area)),
        "tpr_at_fpr": rates,
    }
    return Finding(
        name=name,
        access=access,
        main=counts[0],
        control=counts[1],
        baseline=float((scores > threshold).mean()),
        gain=counts[0].rate - counts[1].rate,
        gains=main - control,
        drivers=(len(np.unique(drivers[members])), len(np.unique(drivers[~members]))),
        p_value=permutation_p_value(scores, members, drivers, seed=seed),
        figures=known,
    )


def _rate_at(rate: float, scores: Array, members: Bools, weights: Array) -> dict[str, Any]:
    fewest, there = FEWEST_FOR[rate], int((~members).sum())
    if there < fewest:
        return {"value": None, "reason": f"{there} non-members are scored, {fewest} are needed"}
    samples = tpr_at(rate, scores, members, weights)
    return {"value": float(tpr_at(rate, scores, members)[0]), "interval": interval(samples)}
