"""The noise schedule, few-step timesteps and DDIM coefficients, all in float64 on the host.

With alpha = sqrt(alpha_bar) and sigma = sqrt(1 - alpha_bar), a noisy image is x = alpha x0 + sigma epsilon.

    diffusion = Diffusion(1000, "cosine-zero", "x0")
    timesteps = trailing(diffusion.timesteps, 10)                     # 999, 899 .. 99
    table = ddim_coefficients(diffusion.alpha_bar()[timesteps], diffusion.prediction)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt

from contract.errors import UsageError
from contract.limits import Timesteps
from contract.record import Record, one_of

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

SCHEDULES = ("cosine", "cosine-zero")
PREDICTIONS = ("epsilon", "v", "x0")

ScheduleName = Annotated[str, one_of(*SCHEDULES)]
Prediction = Annotated[str, one_of(*PREDICTIONS)]

OFFSET = 0.008
"""The s of Nichol & Dhariwal (arXiv 2102.09672, equation 17): keeps the first betas above zero."""

MAX_BETA = 0.999
"""Nichol & Dhariwal clip betas here, so that alpha_bar stays above 0 and epsilon can be divided out."""


@dataclass(frozen=True)
class Diffusion(Record):
    """How noise is added and what the network predicts."""

    WHAT = "diffusion"

    timesteps: Timesteps = 1000
    """T: a timestep is an integer from 0 (almost clean) to T - 1 (noise)."""

    schedule: ScheduleName = "cosine"
    """`cosine` (betas clipped to 0.999) or `cosine-zero` (unclipped: the last alpha_bar is exactly 0)."""

    prediction: Prediction = "epsilon"
    """What the network returns: the noise `epsilon`, `v` = alpha epsilon - sigma x0, or the clean image `x0`."""

    def alpha_bar(self) -> Float64:
        """alpha_bar as float64 [T], falling from almost 1 (arXiv 2102.09672, equation 17)."""
        t = np.arange(self.timesteps + 1, dtype=np.float64) / self.timesteps
        f = np.cos((t + OFFSET) / (1.0 + OFFSET) * np.pi / 2.0) ** 2
        if self.schedule == "cosine":
            betas = np.minimum(1.0 - f[1:] / f[:-1], MAX_BETA)
            return np.asarray(np.cumprod(1.0 - betas), dtype=np.float64)
        f[-1] = 0.0  # cos(pi / 2) in floating point is 6e-17
        return np.asarray(f[1:] / f[0], dtype=np.float64)


def trailing(total: int, steps: int) -> Int64:
    """K of T timesteps, evenly spaced and ending where the noise does: int64 [K], in running order.

    (1000, 10) gives 999, 899 .. 99 (arXiv 2305.08891, section 3.3). Raises UsageError outside 1..T.
    """
    if not 1 <= steps <= total:
        raise UsageError(f"{steps} steps; expected 1 to {total}, the timesteps that the checkpoint was trained with")
    spaced: Int64 = np.round(total - np.arange(steps) * (total / steps)).astype(np.int64) - 1
    return spaced


def ddim_coefficients(alpha_bar: npt.ArrayLike, prediction: str) -> Float64:
    """One row (a, b, c, d) for each timestep that is run: float64 [K, 4] from alpha_bar [K] in running order.

    x0 = a x + b prediction, then (clipped or not) x_next = c x + d x0, which is DDIM with eta 0
    (arXiv 2010.02502, equation 12) with the noise re-derived from x0. After the last row alpha_bar is 1,
    so that its x_next is x0. Raises UsageError where the values don't rise within [0, 1), and for epsilon
    prediction at alpha_bar 0, where x holds nothing of the image and x0 would be a division by zero.
    """
    now = np.asarray(alpha_bar, dtype=np.float64)
    rises = now.ndim == 1 and now.size > 0 and now[0] >= 0.0 and bool(np.all(np.diff(now, append=1.0) > 0.0))
    if not rises:
        raise UsageError("alpha_bar of the steps: expected numbers that rise within [0, 1), timesteps from noise down")
    if prediction == "epsilon" and now[0] == 0.0:
        raise UsageError(
            "epsilon prediction at alpha_bar 0: x0 would be a division by zero;"
            " train with the schedule 'cosine', or with the prediction 'v' or 'x0'"
        )
    alpha, sigma = np.sqrt(now), np.sqrt(1.0 - now)
    following = np.append(now[1:], 1.0)
    alpha_next, sigma_next = np.sqrt(following), np.sqrt(1.0 - following)
    a, b = _clean_image(alpha, sigma, prediction)
    return np.stack([a, b, sigma_next / sigma, alpha_next - sigma_next * alpha / sigma], axis=1)


def _clean_image(alpha: Float64, sigma: Float64, prediction: str) -> tuple[Float64, Float64]:
    """a and b of x0 = a x + b prediction (v: arXiv 2202.00512, appendix D)."""
    if prediction == "epsilon":
        return 1.0 / alpha, -sigma / alpha
    if prediction == "v":
        return alpha, -sigma
    if prediction == "x0":
        return np.zeros_like(alpha), np.ones_like(alpha)
    raise UsageError(f"prediction {prediction!r}; expected one of {', '.join(PREDICTIONS)}")
