"""The noise schedule, few-step timesteps and DDIM coefficients, all in float64 on the host.

With alpha = sqrt(alpha_bar) and sigma = sqrt(1 - alpha_bar), a noisy image is x = alpha x0 + sigma epsilon.

    diffusion = Diffusion(1000, "cosine-zero", "x0")
    timesteps = trailing(diffusion.timesteps, 10)                     # 999, 899 .. 99
    table = ddim_coefficients(diffusion.alpha_bar()[timesteps], diffusion.prediction)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from contract.errors import Refused, UsageError
from contract.limits import MAX_SHIFT, AlphaBar, Timesteps
from contract.record import Record, one_of

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

SCHEDULES = ("cosine", "cosine-zero", "linear", "scaled-linear", "sigmoid", "table")
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
    OPTIONAL = frozenset({"table"})

    timesteps: Timesteps = 1000
    """T: a timestep is an integer from 0 (almost clean) to T - 1 (noise)."""

    schedule: ScheduleName = "cosine"
    """`cosine` (betas clipped to 0.999), `cosine-zero` (unclipped: the last alpha_bar is exactly 0), `linear` (betas
    from 0.0001 to 0.02 where T is 1000), `scaled-linear` (their square roots are linear, 0.00085 to 0.012), `sigmoid`,
    or `table`."""

    prediction: Prediction = "epsilon"
    """What the network returns: the noise `epsilon`, `v` = alpha epsilon - sigma x0, or the clean image `x0`."""

    table: tuple[AlphaBar, ...] = ()
    """alpha_bar of every timestep, for schedules that have no name here; empty for those that have one."""

    def __post_init__(self) -> None:
        if len(self.table) != (self.timesteps if self.schedule == "table" else 0):
            raise Refused(f"diffusion: a table of {len(self.table)}; expected a number for each timestep of a `table`")

    def alpha_bar(self) -> Float64:
        """alpha_bar as float64 [T], falling from almost 1."""
        if self.schedule == "table":
            return np.asarray(self.table, dtype=np.float64)
        if self.schedule == "cosine-zero":
            f = _cosine(self.timesteps)
            f[-1] = 0.0  # cos(pi / 2) in floating point is 6e-17
            return np.asarray(f[1:] / f[0], dtype=np.float64)
        return np.asarray(np.cumprod(1.0 - _betas(self.schedule, self.timesteps)), dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in super().to_dict().items() if key != "table" or value}


def _betas(schedule: str, total: int) -> Float64:
    """float64 [T]. linear: arXiv 2006.11239, for other T as in 2102.09672; scaled-linear: arXiv 2112.10752."""
    if schedule == "linear":
        return np.linspace(1e-4, 0.02, total) * (1000.0 / total)
    if schedule == "scaled-linear":
        return np.linspace(0.00085**0.5, 0.012**0.5, total) ** 2
    f = _cosine(total) if schedule == "cosine" else _sigmoid(total)
    return np.minimum(1.0 - f[1:] / f[:-1], MAX_BETA)


def _cosine(total: int) -> Float64:
    """arXiv 2102.09672, equation 17: float64 [T + 1]."""
    t = np.arange(total + 1, dtype=np.float64) / total
    return np.asarray(np.cos((t + OFFSET) / (1.0 + OFFSET) * np.pi / 2.0) ** 2, dtype=np.float64)


def _sigmoid(total: int) -> Float64:
    """arXiv 2212.11972, from -3 to 3 with temperature 1: float64 [T + 1]."""
    t = np.arange(total + 1, dtype=np.float64) / total
    start, end, now = (1.0 / (1.0 + np.exp(-x)) for x in (-3.0, 3.0, 6.0 * t - 3.0))
    return np.asarray((end - now) / (end - start), dtype=np.float64)


def trailing(total: int, steps: int, shift: float = 1.0) -> Int64:
    """K of T timesteps, from the noisiest on: int64 [K], in running order.

    Evenly spaced, (1000, 10) gives 999, 899 .. 99 (arXiv 2305.08891, section 3.3). A `shift` above 1 puts more of
    them where noise is strong (arXiv 2403.03206, equation 23): large images show through noise for longer, and what
    differs between frames of one condition is decided there. Raises UsageError for steps outside of 1..T and for a
    shift outside of 1..MAX_SHIFT.
    """
    if not 1 <= steps <= total:
        raise UsageError(f"{steps} steps; expected 1 to {total}, the timesteps that the checkpoint was trained with")
    if not 1.0 <= shift <= MAX_SHIFT:
        raise UsageError(f"shift {shift:g}; expected 1 to {MAX_SHIFT:g}")
    order = np.arange(steps)
    even = total - order * (total / steps)
    spaced = np.round(shift * even / (1.0 + (shift - 1.0) * even / total)).astype(np.int64) - 1
    falling = np.minimum.accumulate(spaced + order) - order  # many steps and a large shift would repeat some
    chosen: Int64 = np.maximum(falling, steps - 1 - order)
    return chosen


def ddim_coefficients(alpha_bar: npt.ArrayLike, prediction: str) -> Float64:
    """One row (a, b, c, d) for each timestep that is run: float64 [K, 4] from alpha_bar [K] in running order.

    x0 = a x + b prediction, then (clipped or not) x_next = c x + d x0, which is DDIM with eta 0
    (arXiv 2010.02502, equation 12) with the noise re-derived from x0. After the last row alpha_bar is 1,
    so that its x_next is x0. Raises UsageError where the values don't rise within [0, 1), and for epsilon
    prediction at alpha_bar 0, where x holds nothing of the image and x0 would be a division by zero.
    """
    now = np.asarray(alpha_bar, dtype=np.float64)
    check_rising(now)
    return step_coefficients(now, np.append(now[1:], 1.0), prediction)[:, :4]


def check_rising(alpha_bar: Float64) -> None:
    """UsageError where the values don't rise within [0, 1)."""
    rises = alpha_bar.ndim == 1 and alpha_bar.size > 0 and alpha_bar[0] >= 0.0
    if not rises or not bool(np.all(np.diff(alpha_bar, append=1.0) > 0.0)):
        raise UsageError("alpha_bar of the steps: expected numbers that rise within [0, 1), timesteps from noise down")


def step_coefficients(now: Float64, following: Float64, prediction: str, rederive: bool = True) -> Float64:
    """One row (a, b, c, d, e) for each step: float64 [K, 5] from alpha_bar before and after it, both [K].

    x0 = a x + b prediction, then (clipped or not) x_next = c x + d x0 + e prediction. With `rederive` the noise is
    derived from the clipped x0 and e is 0; without, it is the one that was predicted, as in other libraries' DDIM.
    """
    if prediction == "epsilon" and now[0] == 0.0:
        raise UsageError(
            "epsilon prediction at alpha_bar 0: x0 would be a division by zero;"
            " train with the schedule 'cosine', or with the prediction 'v' or 'x0'"
        )
    alpha, sigma = np.sqrt(now), np.sqrt(1.0 - now)
    alpha_next, sigma_next = np.sqrt(following), np.sqrt(1.0 - following)
    a, b = _clean_image(alpha, sigma, prediction)
    if rederive:
        c, d, e = sigma_next / sigma, alpha_next - sigma_next * alpha / sigma, np.zeros_like(sigma)
    else:  # the noise is (x - alpha (a x + b prediction)) / sigma
        c, d, e = sigma_next * (1.0 - alpha * a) / sigma, alpha_next, -sigma_next * alpha * b / sigma
    return np.stack([a, b, c, d, e], axis=1)


def _clean_image(alpha: Float64, sigma: Float64, prediction: str) -> tuple[Float64, Float64]:
    """a and b of x0 = a x + b prediction (v: arXiv 2202.00512, appendix D)."""
    if prediction == "epsilon":
        return 1.0 / alpha, -sigma / alpha
    if prediction == "v":
        return alpha, -sigma
    if prediction == "x0":
        return np.zeros_like(alpha), np.ones_like(alpha)
    raise UsageError(f"prediction {prediction!r}; expected one of {', '.join(PREDICTIONS)}")
