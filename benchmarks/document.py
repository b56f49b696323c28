"""The source document's own sampler: all 1000 ancestral steps, in eager PyTorch.

seconds = document_seconds(setting, batch=8, guided=True)      # extrapolated from TIMED steps
"""

from __future__ import annotations

import time

import torch

from benchmarks.fixtures import Setting
from models.checkpoint import read_checkpoint
from models.diffusion import ddpm_coefficients, predict, to_frames

TIMED, WARM = 20, 3
"""Steps that are timed, and steps before them; all take the same time."""


def document_seconds(setting: Setting, batch: int, guided: bool) -> float:
    """Seconds of a batch over all timesteps of the teacher: the time of TIMED steps, extrapolated.

    Its loop lacks `no_grad`; it gets `inference_mode` here, and the teacher in place of its own far larger network.
    """
    checkpoint = read_checkpoint(setting.teacher)
    network, diffusion, config = checkpoint.network(), checkpoint.diffusion, checkpoint.config
    guidance = checkpoint.sampler.guidance if guided else 1.0
    table = ddpm_coefficients(diffusion).tolist()
    x = torch.randn(batch, *config.image, generator=torch.Generator().manual_seed(0))
    condition = torch.zeros(batch, config.condition_width)
    started = 0.0
    with torch.inference_mode():
        for number, t in enumerate(reversed(range(diffusion.timesteps - TIMED - WARM, diffusion.timesteps))):
            if number == WARM:
                started = time.perf_counter()
            a, b, of_x0, of_x, deviation = table[t]
            x0 = a * x + b * predict(network, x, t, condition, guidance)
            x = of_x0 * x0 + of_x * x + deviation * torch.randn(x.shape)
        taken = time.perf_counter() - started
        finishing = time.perf_counter()
        to_frames(x)
        finishing = time.perf_counter() - finishing
    return taken / TIMED * diffusion.timesteps + finishing
