"""What torch in float32 draws: the truth that every file of a bundle is compared with.

plan = choose_plan("quick", network, sampler)
reference = draw_reference(checkpoint, network, sampler, plan.conditions, bar.update)
"""

from __future__ import annotations

import io
import timeit

import numpy as np
import torch
from torch import Tensor, nn

from contract.bundle import Sampler
from contract.parity import Reference
from export.parity import FULL, HEAVY, QUICK, SEED, ParityPlan, conditions_of, noise_of
from export.progress import Advance
from models.checkpoint import Checkpoint
from models.denoiser import Denoiser
from models.diffusion import predict, sample, to_frames

QUICK_SECONDS = 60.0
TRIALS = 3
BATCH = 8
STORED = 32
"""Conditions in reference.npz; its frames are of the first of them, of all 32 unless the network is heavy."""


def choose_plan(level: str, network: Denoiser, sampler: Sampler) -> ParityPlan:
    """FULL for `full`, else QUICK where that takes up to a minute by one measured step, else HEAVY."""
    if level == "full":
        return FULL
    frames = QUICK.conditions + QUICK.drawn()  # torch's own, too
    seconds = seconds_per_step(network, sampler.guidance) * sampler.steps * frames
    return QUICK if seconds <= QUICK_SECONDS else HEAVY


def seconds_per_step(network: Denoiser, guidance: float) -> float:
    """Time of one frame's step in torch here: the best of a few, as other programs may take their turns."""
    config = network.config
    x = torch.zeros(1, *config.image)
    condition = torch.zeros(1, config.condition_width)
    return min(timeit.repeat(lambda: _step(network, x, condition, guidance), number=1, repeat=TRIALS))


def draw_reference(
    checkpoint: Checkpoint,
    network: Denoiser,
    sampler: Sampler,
    frames: int,
    advance: Advance,
    decoder: nn.Module | None = None,
) -> Reference:
    """Conditions from the schema's prior and torch's frames for the first of them, of latents by their decoder."""
    config = checkpoint.config
    conditions = conditions_of(checkpoint.schema, max(STORED, frames))
    drawn = []
    for first in range(0, frames, BATCH):
        rows = range(first, min(first + BATCH, frames))
        noise = torch.from_numpy(noise_of(tuple(config.image), rows))
        condition = torch.from_numpy(conditions[rows.start : rows.stop])
        x, final = sample(network, sampler, noise, condition)
        final = to_frames(decoder(x)) if decoder else final
        drawn.append(final.numpy())
        advance(len(rows))
    return Reference(conditions, SEED, np.concatenate(drawn))


def npz(reference: Reference) -> bytes:
    """The content of `reference.npz`."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        seed=np.uint64(reference.seed),
        conditions=reference.conditions[:STORED],
        frames=reference.frames[:STORED],
    )
    return buffer.getvalue()


@torch.no_grad()
def _step(network: Denoiser, x: Tensor, condition: Tensor, guidance: float) -> None:
    predict(network, x, 0, condition, guidance)
