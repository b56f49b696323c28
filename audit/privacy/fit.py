"""Train a network that remembers: the plain denoising loss, without augmentation and without averaged weights.

checkpoint = fit(start, frames, conditions, steps=600)
"""

from __future__ import annotations

from dataclasses import replace

import torch

from contract.conditions import Array
from contract.frames import Frames, to_images
from models.checkpoint import Checkpoint
from models.loss import denoising_loss
from models.networks import build

BATCH = 32
LEARNING_RATE = 2e-3
"""Peak of a single cosine cycle."""


def fresh(checkpoint: Checkpoint, seed: int) -> Checkpoint:
    """The same network with random weights, and nothing of its history."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(checkpoint.config)
    return Checkpoint(
        checkpoint.config, checkpoint.schema, checkpoint.diffusion, network.state_dict(), checkpoint.sampler
    )


def fit(
    start: Checkpoint, frames: Frames, conditions: Array, steps: int, seed: int = 0, device: str = "cpu"
) -> Checkpoint:
    """`steps` batches of frames uint8 [N, H, W, C] with encoded conditions [N, D], from the weights of `start`."""
    network = start.network().train().requires_grad_(True).to(device)
    images, vectors = torch.from_numpy(to_images(frames)).to(device), torch.from_numpy(conditions).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for _ in range(steps):
            rows = torch.randint(len(images), (min(BATCH, len(images)),), device=device)
            optimizer.zero_grad()
            loss = denoising_loss(network, start.diffusion, images[rows], vectors[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return replace(start, weights={name: value.detach().cpu() for name, value in network.state_dict().items()})
