"""What noise costs: epsilon and delta of repeated noisy releases, by accountants that have to agree.

    budget = Budget(epsilon=10.0, delta=1e-5, unit="driver")
    noise = noise_multiplier(budget, sample_rate=0.01, steps=1000)
    spent = epsilon_spent(noise, sample_rate=0.01, steps=1000, delta=1e-5)

Subsampled releases (DP-SGD) are accounted for by PRV (Opacus) and PLD (dp-accounting); releases of everything, by the
closed form of the Gaussian mechanism (Balle and Wang 2018, arXiv 1805.06530, theorem 8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from contract.errors import EdgeError, Unavailable, UsageError
from contract.privacy_budget import UNITS

AGREEMENT = 0.01
"""Share by which both accountants may differ: each is exact up to a discretization far finer than that."""

TOLERANCE = 0.005
"""Share by which the noise may exceed the least that is enough."""

COARSE, FINE = 0.005, 0.002
"""Error that PRV may make: in epsilon, and as a share of a small epsilon."""

MOST_EPSILON, MOST_NOISE = 1000.0, 1e6
INSTALL = "isn't installed, which differential privacy needs; run: pip install '.[privacy]'"


@dataclass(frozen=True)
class Budget:
    """How much may be given away of one unit: of a single frame, or of a driver with all frames."""

    epsilon: float
    delta: float
    unit: str

    def __post_init__(self) -> None:
        if not 0.0 < self.epsilon <= MOST_EPSILON or not 0.0 < self.delta < 1.0:
            raise UsageError(
                f"epsilon {self.epsilon:g}, delta {self.delta:g}; expected 0 < epsilon <= 1000, 0 < delta < 1"
            )
        if self.unit not in UNITS:
            raise UsageError(f"unit {self.unit!r}; expected frame or driver")

    def to_lineage(self, spent: float) -> dict[str, Any]:
        """What a checkpoint or data set says of it: the epsilon that was spent, not the one that was allowed."""
        return {"epsilon": spent, "delta": self.delta, "unit": self.unit}


class Disagreement(EdgeError):
    """Two accountants differ, so that neither is believed."""


def noise_multiplier(budget: Budget, sample_rate: float, steps: int) -> float:
    """The noise, as a multiple of the clipping norm, whose cost both accountants put within the budget: hardly more."""
    low, high = 0.1, 1.0
    while prv_epsilon(high, sample_rate, steps, budget.delta) > budget.epsilon:
        low, high = high, 2.0 * high
        if high > MOST_NOISE:
            raise UsageError(
                f"epsilon {budget.epsilon:g}: no noise is enough for {steps} steps; allow more, or train less"
            )
    while high - low > TOLERANCE * high:
        middle = (low + high) / 2.0
        low, high = (
            (low, middle) if prv_epsilon(middle, sample_rate, steps, budget.delta) <= budget.epsilon else (middle, high)
        )
    while epsilon_spent(high, sample_rate, steps, budget.delta) > budget.epsilon:
        high *= 1.0 + TOLERANCE
    return high


def epsilon_spent(noise: float, sample_rate: float, steps: int, delta: float) -> float:
    """Epsilon of that many subsampled releases, the larger of both accountants; Disagreement beyond AGREEMENT."""
    found = (prv_epsilon(noise, sample_rate, steps, delta), pld_epsilon(noise, sample_rate, steps, delta))
    if abs(found[0] - found[1]) > AGREEMENT * max(found):
        raise Disagreement(
            f"epsilon {found[0]:.4g} by PRV, {found[1]:.4g} by PLD; expected both within {AGREEMENT:.0%}"
        )
    return max(found)


def prv_epsilon(noise: float, sample_rate: float, steps: int, delta: float) -> float:
    """By privacy random variables (arXiv 2106.02848): an upper bound, and fine enough to agree with others."""
    try:
        from opacus.accountants import PRVAccountant
    except ImportError as error:
        raise Unavailable(f"{error.name or 'opacus'} {INSTALL}") from error
    accountant = PRVAccountant()
    accountant.history = [(noise, sample_rate, steps)]
    epsilon = float(accountant.get_epsilon(delta, eps_error=COARSE, delta_error=delta / 1000.0))
    if FINE * epsilon < COARSE:  # its bound is higher by the error that it may make
        epsilon = float(accountant.get_epsilon(delta, eps_error=FINE * epsilon, delta_error=delta / 1000.0))
    return epsilon


def pld_epsilon(noise: float, sample_rate: float, steps: int, delta: float) -> float:
    """By privacy loss distributions (arXiv 2111.11889)."""
    try:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
        from dp_accounting.pld import PLDAccountant
    except ImportError as error:
        raise Unavailable(f"{error.name or 'dp-accounting'} {INSTALL}") from error
    accountant = PLDAccountant()
    accountant.compose(SelfComposedDpEvent(PoissonSampledDpEvent(sample_rate, GaussianDpEvent(noise)), steps))
    return float(accountant.get_epsilon(delta))


def gaussian_epsilon(noise: float, releases: int, delta: float) -> float:
    """Epsilon of that many releases of everything with noise of `noise` times the sensitivity: closed form."""
    mu = math.sqrt(releases) / noise
    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while gaussian_delta(mu, high) > delta:
        low, high = high, 2.0 * high
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (low, middle) if gaussian_delta(mu, middle) <= delta else (middle, high)
    return high


def gaussian_delta(mu: float, epsilon: float) -> float:
    """Delta of a mu-Gaussian mechanism: Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu)."""
    cdf = NormalDist().cdf
    tail = cdf(-mu / 2.0 - epsilon / mu)
    return cdf(mu / 2.0 - epsilon / mu) - (math.exp(epsilon + math.log(tail)) if tail > 0.0 else 0.0)


def gaussian_noise(budget: Budget, releases: int) -> float:
    """The least noise, as a multiple of the sensitivity, with which that many releases stay within the budget."""
    low, high = 1e-3, 1.0
    while gaussian_epsilon(high, releases, budget.delta) > budget.epsilon:
        low, high = high, 2.0 * high
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (
            (low, middle) if gaussian_epsilon(middle, releases, budget.delta) <= budget.epsilon else (middle, high)
        )
    return high
