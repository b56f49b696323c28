"""A picture of what a checkpoint draws, for a look at a run while it goes on."""

from __future__ import annotations

from pathlib import Path

import torch

from contract.noise import initial_noises, open_fields
from models.checkpoint import Checkpoint
from models.diffusion import ddim
from pictures.image_grid import draw_page, write_image

ROWS, COLUMNS = 4, 8


def sample_grid(checkpoint: Checkpoint, path: Path, seed: int = 0, device: str | torch.device = "cpu") -> None:
    """Draw ROWS x COLUMNS conditions of the schema's prior with the checkpoint's default sampler into one PNG.

    Frame i is the one that the runtime draws for index i without any condition given.
    """
    schema, sampler = checkpoint.schema, checkpoint.sampler
    indices = range(ROWS * COLUMNS)
    condition = schema.encode([schema.complete({}, open_fields(seed, index)) for index in indices])
    noise = initial_noises(seed, indices, tuple(checkpoint.config.image))
    _, frames = ddim(
        checkpoint.network().to(device),
        checkpoint.diffusion,
        torch.from_numpy(noise).to(device),
        torch.from_numpy(condition).to(device),
        checkpoint.timesteps(),
        sampler.guidance,
    )
    tiles = frames.cpu().numpy().reshape(ROWS, COLUMNS, *frames.shape[1:])
    write_image(path, draw_page([""] * COLUMNS, [[""]] * ROWS, list(tiles)))
