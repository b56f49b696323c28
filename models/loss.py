"""The training loss: how far the prediction is from the clean image, weighted by noise level and by place.

loss = denoising_loss(network, diffusion, images, condition, weight_map)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from contract.schedule import Diffusion
from models.denoiser import Denoiser

PerceptualLoss = Callable[[Tensor, Tensor], Tensor]
"""From a predicted x0 [B, C, H, W] and how much of it can be known, 0 to 1 [B], to a loss."""

MAX_WEIGHT = 20.0
"""Cap of 1 / (1 - alpha_bar), the v loss in terms of x0 (arXiv 2202.00512, section 4), infinite without noise."""


@lru_cache(maxsize=8)
def alpha_bars(diffusion: Diffusion, device: torch.device) -> Tensor:
    """alpha_bar as float64 [T] on a device, copied once: a copy for each batch would wait for the whole GPU."""
    return torch.from_numpy(diffusion.alpha_bar()).to(device)


def targets(diffusion: Diffusion, images: Tensor, noise: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy images, what the network should predict (both like `images`), and the loss weight [B]."""
    alpha_bar = alpha_bars(diffusion, images.device)[timesteps]
    alpha = alpha_bar.sqrt().to(images.dtype)[:, None, None, None]
    sigma = (1.0 - alpha_bar).sqrt().to(images.dtype)[:, None, None, None]
    noisy = alpha * images + sigma * noise
    weight = torch.ones_like(alpha_bar)
    if diffusion.prediction == "x0":
        target, weight = images, (1.0 / (1.0 - alpha_bar)).clamp(max=MAX_WEIGHT)
    elif diffusion.prediction == "v":
        target = alpha * noise - sigma * images
    else:
        target = noise
    return noisy, target, weight.to(images.dtype)


def denoising_loss(
    network: Denoiser,
    diffusion: Diffusion,
    images: Tensor,  # [B, C, H, W] in [-1, 1]
    condition: Tensor,  # [B, D]
    weight_map: Tensor | None = None,  # [B, 1, H, W], mean about 1
    dropout: float = 0.1,
    judge: PerceptualLoss | None = None,
) -> Tensor:
    """Mean weighted squared error at uniform timesteps; `dropout` of the conditions become the null condition.

    `judge` adds a loss of its own where x0 is predicted: alpha_bar of an image is known, and nothing of one without
    its condition, whose labels the network can't know.
    """
    batch = images.shape[0]
    timesteps = torch.randint(diffusion.timesteps, (batch,), device=images.device)
    noise = torch.randn(images.shape, device=images.device)  # drawn in order: channels-last takes three times as long
    noisy, target, weight = targets(diffusion, images, noise, timesteps)
    if judge is not None and diffusion.prediction != "x0":
        raise ValueError(f"a judge of images, and a network that predicts {diffusion.prediction}")
    certainty = alpha_bars(diffusion, images.device)[timesteps].to(images.dtype)
    if network.null_condition is not None and dropout > 0.0:
        dropped = torch.rand(batch, 1, device=images.device) < dropout
        condition = torch.where(dropped, network.null_condition.to(condition.dtype), condition)
        certainty = certainty * ~dropped[:, 0]
    predicted = network(noisy, timesteps, condition).float()
    error = (predicted - target) ** 2
    if weight_map is not None:
        error = error * weight_map
    loss: Tensor = (error.mean(dim=(1, 2, 3)) * weight).mean()
    return loss if judge is None else loss + judge(predicted, certainty)


def face_weights(
    landmarks: Tensor,  # [B, L, 2] as shares of the picture
    sides: tuple[int, ...],  # height and width in pixels
    extra: float | Tensor = 4.0,  # or one for each landmark, [L]
    radius: float = 0.075,
) -> Tensor:
    """A map [B, 1, H, W] that weighs the surroundings of landmarks more.

    The background weighs 1, a landmark 1 + extra, before each map is scaled to mean 1; `radius` is a share of
    the width.
    """
    height, width = sides
    across = (torch.arange(width, device=landmarks.device, dtype=landmarks.dtype) + 0.5) / width
    down = (torch.arange(height, device=landmarks.device, dtype=landmarks.dtype) + 0.5) / width  # square pixels
    dx = across[None, None, :] - landmarks[:, :, 0:1]
    dy = down[None, None, :] - landmarks[:, :, 1:2] * (height / width)
    peaks = torch.as_tensor(extra, device=landmarks.device, dtype=landmarks.dtype).reshape(1, -1, 1)
    rows, columns = (torch.exp(-0.5 * (offset / radius) ** 2) for offset in (dy, dx))
    bells = (peaks * rows)[:, :, :, None] * columns[:, :, None, :]  # an exponential a side, not one a pixel
    weights = 1.0 + bells.amax(dim=1, keepdim=True)
    scaled: Tensor = weights / weights.mean(dim=(2, 3), keepdim=True)
    return scaled
