"""Normalisation folded into FiLM: a student without statistics, so that its engine needn't compute any.

    network = fold(teacher_network, images, condition, diffusion, timesteps)

A student runs at few timesteps. At each of them the mean and deviation that a group normalisation divides out depend
on little but the timestep and condition, which FiLM knows as well. A ridge regression writes them into its weights;
distillation corrects what is left. Without normalisation every convolution follows the one before through ReLU and sums
alone, which every engine fuses (arXiv 2312.02696 trains such networks from the start).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from contract.schedule import Diffusion
from models.edge import Block, EdgeUNet

RIDGE = 1e-3
"""Of the regression, as a share of the embedding's variance."""

BATCH = 64

SMALLEST = 1e-5
"""Added to variances, as group normalisation does."""


@torch.no_grad()
def fold(
    network: EdgeUNet,
    images: Tensor,  # [N, C, H, W] in [-1, 1]
    condition: Tensor,  # [N, D]
    diffusion: Diffusion,
    timesteps: Sequence[int],
    seed: int = 0,
) -> EdgeUNet:
    """A copy of the network without normalisation that draws about the same at these timesteps.

    Every block is fitted to what the network itself does with images that are made noisy, by a generator of `seed`.
    The network may be on any device; everything else, and what is returned, is on the CPU.
    """
    device = network.frequencies.device
    folded = EdgeUNet(replace(network.config, normalisation="none"))
    folded.load_state_dict(network.state_dict())
    times = torch.tensor(timesteps).repeat(len(images))[: len(images)]
    alpha_bar = torch.from_numpy(diffusion.alpha_bar())[times].float()[:, None, None, None]
    generator = torch.Generator().manual_seed(seed)
    seen: list[list[Tensor]] = [[] for _ in network.blocks()]
    hooks = [
        block.register_forward_pre_hook(lambda block, inputs, rows=rows: rows.append(_film(block, *inputs).cpu()))
        for block, rows in zip(network.blocks(), seen, strict=True)
    ]
    for first in range(0, len(images), BATCH):
        part = slice(first, first + BATCH)
        noise = torch.randn(images[part].shape, generator=generator)
        noisy = alpha_bar[part].sqrt() * images[part] + (1.0 - alpha_bar[part]).sqrt() * noise
        network(noisy.to(device), times[part].to(device), condition[part].to(device))
    for hook in hooks:
        hook.remove()
    embedding = F.silu(network.embed_time(times.to(device)) + network.condition(condition.to(device))).cpu()
    for block, rows in zip(folded.blocks(), seen, strict=True):
        _fit(block.film, embedding, torch.cat(rows))
    return folded


def _film(block: Block, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The scale and shift with which FiLM alone does what a block does with its normalisation: [B, 2 C]."""
    channels = x.shape[1] // block.groups
    groups = x.reshape(len(x), block.groups, -1)
    mean = groups.mean(dim=2).repeat_interleave(channels, dim=1)
    deviation = (groups.var(dim=2, unbiased=False) + SMALLEST).sqrt().repeat_interleave(channels, dim=1)
    whole = scale[:, :, 0, 0] / deviation
    return torch.cat([whole - 1.0, shift[:, :, 0, 0] - mean * whole], dim=1)


def _fit(film: nn.Linear, embedding: Tensor, wanted: Tensor) -> None:
    """Least squares with a ridge, in float64: film(embedding) = wanted."""
    x, y = embedding.double(), wanted.double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    gram = (x - x_mean).T @ (x - x_mean)
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram, (x - x_mean).T @ (y - y_mean)).T
    film.weight.copy_(weight)
    film.bias.copy_(y_mean - weight @ x_mean)
