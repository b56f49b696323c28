"""A tiny edge network whose activations behave as a trained one's do, so that int8 can be told from noise.

With the weights of `tiny_edge_checkpoint` every layer amplifies what the one before it rounds.
"""

from __future__ import annotations

import torch

from contract.schedule import Diffusion
from contract.schemas import CABIN
from models.checkpoint import Checkpoint, SamplerDefaults
from models.denoiser import Size
from models.edge import EdgeConfig, EdgeUNet


def calm_checkpoint(seed: int = 12, channels: int = 3, size: Size = 16) -> Checkpoint:
    """16 px, 4 steps, guidance 2; what starts at zero in training is drawn at the size of torch's default."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = EdgeUNet(EdgeConfig(CABIN.width, channels, size, patch=2, widths=(32, 64), blocks=1))
        for name, parameter in network.named_parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1 if name.startswith("out") else 0.05)
    weights = {name: weight.half() for name, weight in network.state_dict().items()}
    diffusion, sampler = Diffusion(1000, "cosine-zero", "x0"), SamplerDefaults(None, 4, 2.0)
    return Checkpoint(network.config, CABIN, diffusion, weights, sampler)
