"""Schedule, timesteps and coefficients against their definitions and values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import Refused, UsageError
from contract.limits import MAX_SHIFT
from contract.schedule import Diffusion, ddim_coefficients, trailing

EXACT = 1e-12
"""Both sides are float64 arithmetic of a few operations."""

DIVIDED_BY_ALPHA = 1e-7
"""At alpha 5e-5, one division and one subtraction lose that many digits of float64's 16."""


@pytest.mark.parametrize("schedule", ["cosine", "cosine-zero"])
@pytest.mark.parametrize("timesteps", [10, 1000])
def test_alpha_bar_falls_from_almost_one(schedule: str, timesteps: int) -> None:
    alpha_bar = Diffusion(timesteps, schedule, "v").alpha_bar()
    assert alpha_bar.shape == (timesteps,) and alpha_bar.dtype == np.float64
    assert 0.97 < alpha_bar[0] < 1.0 and np.all(np.diff(alpha_bar) < 0.0)


def test_alpha_bar_by_hand() -> None:
    def f(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    clipped, zero = Diffusion(1000, "cosine").alpha_bar(), Diffusion(1000, "cosine-zero", "v").alpha_bar()
    for t in (0, 499, 998):
        assert clipped[t] == pytest.approx(f((t + 1) / 1000) / f(0), rel=EXACT * 1000)
    np.testing.assert_allclose(zero[:-1], clipped[:-1], rtol=EXACT * 1000)
    assert zero[-1] == 0.0
    assert clipped[-1] == pytest.approx(clipped[-2] * 0.001, rel=EXACT), "beta is clipped to 0.999"


def test_trailing_by_hand() -> None:
    assert trailing(1000, 10).tolist() == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert trailing(1000, 1).tolist() == [999]
    assert trailing(1000, 3).tolist() == [999, 666, 332]
    assert trailing(4, 4).tolist() == [3, 2, 1, 0]


def test_a_shift_by_hand() -> None:
    assert trailing(1000, 4, 3.0).tolist() == [999, 899, 749, 499]  # 3 u / (1 + 2 u) of 1, 3/4, 1/2, 1/4
    assert trailing(5, 4, 100.0).tolist() == [4, 3, 2, 1], "no timestep comes twice, however far it is shifted"
    assert trailing(4, 4, 100.0).tolist() == [3, 2, 1, 0]


@given(
    st.integers(1, 5000).flatmap(lambda total: st.tuples(st.just(total), st.integers(1, total))),
    st.just(1.0) | st.floats(1.0, MAX_SHIFT),
)
def test_trailing_ends_in_noise_and_never_repeats(sizes: tuple[int, int], shift: float) -> None:
    total, steps = sizes
    timesteps = trailing(total, steps, shift)
    assert np.all(timesteps >= trailing(total, steps)), "a shift is towards noise"
    assert len(timesteps) == steps and timesteps[0] == total - 1 and timesteps[-1] >= 0
    assert np.all(np.diff(timesteps) < 0)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_trailing_refuses_more_steps_than_there_are(steps: int) -> None:
    with pytest.raises(UsageError, match="expected 1 to 1000"):
        trailing(1000, steps)


@pytest.mark.parametrize("shift", [0.5, 101.0, math.nan])
def test_trailing_refuses_a_shift_away_from_noise(shift: float) -> None:
    with pytest.raises(UsageError, match=r"shift .*; expected 1 to 100"):
        trailing(1000, 4, shift)


@pytest.mark.parametrize("schedule, prediction", [
    ("cosine", "epsilon"), ("cosine", "v"), ("cosine", "x0"), ("cosine-zero", "v"), ("cosine-zero", "x0"),
])  # fmt: skip
def test_a_perfect_prediction_is_carried_to_the_next_noise_level(schedule: str, prediction: str) -> None:
    bar = Diffusion(1000, schedule, prediction).alpha_bar()[trailing(1000, 10)]
    x0, epsilon = 0.7, -1.3
    for row, now, following in zip(ddim_coefficients(bar, prediction), bar, [*bar[1:], 1.0], strict=True):
        alpha, sigma = math.sqrt(now), math.sqrt(1 - now)
        x = alpha * x0 + sigma * epsilon
        perfect = {"epsilon": epsilon, "x0": x0, "v": alpha * epsilon - sigma * x0}[prediction]
        a, b, c, d = row
        assert a * x + b * perfect == pytest.approx(x0, abs=DIVIDED_BY_ALPHA)
        expected = math.sqrt(following) * x0 + math.sqrt(1 - following) * epsilon
        assert c * x + d * x0 == pytest.approx(expected, abs=EXACT)


def test_the_last_step_returns_the_predicted_image() -> None:
    assert ddim_coefficients([0.2, 0.9], "v")[-1, 2:].tolist() == [0.0, 1.0]


def test_epsilon_at_alpha_bar_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="division by zero"):
        ddim_coefficients([0.0, 0.5], "epsilon")


@pytest.mark.parametrize("alpha_bar", [[], [0.5, 0.5], [0.9, 0.1], [0.1, 1.0], [-0.1], [math.nan], [[0.1]], 0.5])
def test_alpha_bar_out_of_order_is_refused(alpha_bar: Any) -> None:
    with pytest.raises(UsageError, match="expected numbers that rise"):
        ddim_coefficients(alpha_bar, "v")


def test_unknown_prediction_is_refused() -> None:
    with pytest.raises(UsageError, match="expected one of epsilon, v, x0"):
        ddim_coefficients([0.5], "score")


def test_settings_round_trip() -> None:
    diffusion = Diffusion(500, "cosine-zero", "v")
    assert Diffusion.from_dict(diffusion.to_dict()) == diffusion


@pytest.mark.parametrize("data", [
    None, [], {}, {"timesteps": 1000}, {"timesteps": 1000, "schedule": "cosine", "prediction": "v", "beta": 1},
    {"timesteps": 10**12, "schedule": "cosine", "prediction": "v"},
    {"timesteps": True, "schedule": "cosine", "prediction": "v"},
    {"timesteps": 1000, "schedule": ["cosine"], "prediction": "v"},
    {"timesteps": 1000, "schedule": "straight", "prediction": "v"},
    {"timesteps": 1000, "schedule": "cosine", "prediction": 0},
])  # fmt: skip
def test_odd_settings_are_refused(data: Any) -> None:
    with pytest.raises(Refused, match="expected"):
        Diffusion.from_dict(data)
