"""The reference samplers, in torch: few-step DDIM, and ancestral DDPM over every timestep.

What they draw is the truth that exported files are compared with. Coefficients are float64 on the host.

    timesteps = trailing(diffusion.timesteps, 10)
    x0, frames = ddim(model, diffusion, noise, condition, timesteps, guidance_scale=2.0)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from contract.bundle import Sampler
from contract.errors import UsageError
from contract.frames import unscale_pixels
from contract.guidance import guided
from contract.schedule import Diffusion, ddim_coefficients
from models.denoiser import Denoiser


def ddim(
    model: Denoiser,
    diffusion: Diffusion,
    noise: Tensor,  # [B, C, H, W]
    condition: Tensor,  # [B, D]
    timesteps: Sequence[int] | npt.NDArray[np.int64],  # [K], from noise down
    guidance_scale: float = 1.0,
    clip: bool = True,
) -> tuple[Tensor, Tensor]:
    """Deterministic DDIM (arXiv 2010.02502, eta 0): the final x like `noise`, and frames uint8 [B, H, W, C].

    With `clip` the predicted image is clamped to [-1, 1] and the noise re-derived from it before the update.
    Raises UsageError for timesteps out of order or range, and for guidance without a null condition.
    """
    steps = np.asarray(timesteps, dtype=np.int64)
    if steps.size and not 0 <= steps.min() <= steps.max() < diffusion.timesteps:
        raise UsageError(f"timesteps {steps.tolist()}; expected numbers from 0 to {diffusion.timesteps - 1}")
    alpha_bar = tuple(diffusion.alpha_bar()[steps].tolist())
    sampler = Sampler(tuple(steps.tolist()), alpha_bar, diffusion.prediction, guidance_scale, clip)
    return sample(model, sampler, noise, condition)


@torch.no_grad()
def sample(model: Denoiser, sampler: Sampler, noise: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """What a bundle with this sampler draws, from noise [B, C, H, W] under condition [B, D].

    The final x like `noise`, and frames uint8 [B, H, W, C]; UsageError where the sampler can't be run.
    """
    x = noise
    for t, (a, b, c, d, e) in zip(sampler.timesteps, sampler.coefficients().tolist(), strict=True):
        prediction = predict(model, x, t, condition, sampler.guidance)
        x0 = a * x + b * prediction
        x0 = x0.clamp(-sampler.clip_range, sampler.clip_range) if sampler.clip else x0
        x = c * x + d * x0 + (e * prediction if e else 0.0)
    return x, to_frames(x)


@torch.no_grad()
def ddpm(
    model: Denoiser,
    diffusion: Diffusion,
    noise: Tensor,  # [B, C, H, W]
    condition: Tensor,  # [B, D]
    guidance_scale: float = 1.0,
    clip: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Ancestral sampling over all T timesteps with variance beta_t: final x, and frames uint8 [B, H, W, C].

    arXiv 2006.11239, equations 6 and 7. Fresh noise is drawn from `generator` after every timestep but the last.
    Raises UsageError as `ddim` does.
    """
    x = noise
    for t, (a, b, of_x0, of_x, deviation) in reversed(list(enumerate(ddpm_coefficients(diffusion).tolist()))):
        x0 = a * x + b * predict(model, x, t, condition, guidance_scale)
        x0 = x0.clamp(-1.0, 1.0) if clip else x0
        x = of_x0 * x0 + of_x * x
        if t > 0:
            fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            x = x + deviation * fresh
    return x, to_frames(x)


def ddpm_coefficients(diffusion: Diffusion) -> npt.NDArray[np.float64]:
    """One row (a, b, c, d, s) for each timestep, from 0 on: float64 [T, 5].

    x0 = a x + b prediction, then x_before = c x0 + d x + s noise (arXiv 2006.11239, equation 7, variance beta_t).
    """
    alpha_bar = diffusion.alpha_bar()
    clean = ddim_coefficients(alpha_bar[::-1], diffusion.prediction)[::-1, :2]
    before = np.append(1.0, alpha_bar[:-1])
    beta = 1.0 - alpha_bar / before
    of_x0 = np.sqrt(before) * beta / (1.0 - alpha_bar)
    of_x = np.sqrt(1.0 - beta) * (1.0 - before) / (1.0 - alpha_bar)
    return np.column_stack([clean, of_x0, of_x, np.sqrt(beta)])


def predict(model: Denoiser, x: Tensor, t: int, condition: Tensor, guidance_scale: float = 1.0) -> Tensor:
    """The network's prediction at timestep t, with classifier-free guidance where the scale isn't 1.

    arXiv 2207.12598: null + scale (conditional - null), so that 1 is the plain conditional prediction.
    """
    timesteps = torch.full((len(x),), t, dtype=torch.int64, device=x.device)
    prediction: Tensor = model(x, timesteps, condition)
    if guidance_scale == 1.0:
        return prediction
    if model.null_condition is None:
        raise UsageError(f"guidance {guidance_scale:g}: the network has no null condition; expected 1")
    null: Tensor = model(x, timesteps, model.null_condition.expand_as(condition))
    return guided(prediction, null, guidance_scale)  # type: ignore[no-any-return]


def to_frames(x: Tensor) -> Tensor:
    """Images [B, C, H, W] in [-1, 1] as uint8 [B, H, W, C]; what lies outside is clamped."""
    frames: Tensor = unscale_pixels(x.clamp(-1.0, 1.0)).round().permute(0, 2, 3, 1).to(torch.uint8).contiguous()
    return frames
