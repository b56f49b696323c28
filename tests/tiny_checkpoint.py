"""Checkpoints of a few KB with random weights, and the document's network and DDIM written out a second time.

python -m tests.tiny_checkpoint build/tiny.pt
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from contract.conditions import Schema
from contract.schedule import Diffusion
from contract.schemas import CABIN, DOCUMENT
from models.annotator import Annotator, AnnotatorConfig, TrainedAnnotator
from models.checkpoint import Checkpoint, SamplerDefaults, write_checkpoint
from models.document import Document, DocumentConfig
from models.edge import EdgeConfig, EdgeUNet

Weights = dict[str, Tensor]


def tiny_checkpoint(
    base: int = 4,
    size: int = 16,
    diffusion: Diffusion | None = None,
    sampler: SamplerDefaults | None = None,
    dtype: torch.dtype = torch.float32,
) -> Checkpoint:
    """A document network of small width with the same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        network = Document(DocumentConfig(size=size, base=base))
    weights = {name: weight.to(dtype) for name, weight in network.state_dict().items()}
    lineage = {"data": "none", "steps": 0, "seed": 11, "epsilon": None, "delta": None}
    settings = (diffusion or Diffusion(), weights, sampler or SamplerDefaults())
    return Checkpoint(network.config, DOCUMENT, *settings, lineage=lineage)


def tiny_edge_checkpoint() -> Checkpoint:
    """The project's own network at its smallest, stored in float16, with guidance 2 by default."""
    with torch.random.fork_rng():
        torch.manual_seed(12)
        network = EdgeUNet(EdgeConfig(CABIN.width, size=16, patch=2, widths=(32, 64), blocks=1))
        for parameter in network.parameters():  # much of it starts at zero, where nothing could be told apart
            torch.nn.init.normal_(parameter, std=0.1)
    weights = {name: weight.half() for name, weight in network.state_dict().items()}
    diffusion, sampler = Diffusion(1000, "cosine-zero", "x0"), SamplerDefaults(None, 4, 2.0)
    return Checkpoint(network.config, CABIN, diffusion, weights, sampler)


def annotated_checkpoint() -> Checkpoint:
    """The same with an annotator."""
    return replace(tiny_edge_checkpoint(), annotator=tiny_annotator(CABIN))


def tiny_annotator(schema: Schema, landmarks: tuple[str, ...] = ("left", "right"), size: int = 16) -> TrainedAnnotator:
    """Random weights, statistics and calibration; heads that see how a frame differs from the usual one."""
    with torch.random.fork_rng():
        torch.manual_seed(16)
        network = Annotator(AnnotatorConfig(size=size, widths=(32, 64), features=64, landmarks=landmarks), schema)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for tensor in (module.weight.data, module.running_var, module.running_mean, module.bias.data):
                    assert tensor is not None
                    tensor.uniform_(0.5, 1.5)
        for tensor in (network.temperature.data, network.error_scale.data):
            tensor.uniform_(0.5, 1.5)
        colours = torch.rand(64, 1, 1, 3).mul(255).expand(-1, size, size, -1).to(torch.uint8)
        network.eval().requires_grad_(False)
        usual = network(colours)[-1].mean(dim=0)
        for head in (network.classes, network.numbers):
            head.weight *= 8.0
            head.bias.copy_(-head.weight @ usual)
    return TrainedAnnotator.of(network, {"frames": 4, "class_accuracy": {"lighting": 0.5}, "mae": {"gaze_yaw": 9.0}})


def document_forward(weights: Weights, x: Tensor, t: int, condition: Tensor) -> Tensor:
    """The source document word for word, from a state dict and without the project's modules."""
    frequencies = torch.logspace(0, -4, 128, dtype=torch.float64)
    angles = t * frequencies
    time = torch.cat([angles.sin(), angles.cos()]).to(x.dtype)

    def linear(name: str, value: Tensor) -> Tensor:
        return F.linear(value, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def conv(name: str, value: Tensor, padding: int = 1) -> Tensor:
        return F.conv2d(value, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    encoder = "condition_encoder.encoder"
    embedding = time + linear(f"{encoder}.2", F.relu(linear(f"{encoder}.0", condition)))

    def block(name: str, h: Tensor) -> Tensor:
        h = F.relu(conv(f"unet.{name}.conv.2", F.relu(conv(f"unet.{name}.conv.0", h))))
        return h + linear(f"unet.{name}.time_proj", embedding).reshape(len(x), -1, 1, 1)

    skips, h = [], x
    for name in ("down1", "down2", "down3"):
        skips.append(block(name, h))
        h = F.max_pool2d(skips[-1], 2)
    h = block("mid", h)
    for name in ("up1", "up2", "up3"):
        h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=True)
        h = block(name, torch.cat([h, skips.pop()], dim=1))
    return conv("unet.out", h, padding=0)


def document_ddim(
    weights: Weights, noise: npt.NDArray[np.float32], condition: npt.NDArray[np.float32], timesteps: Sequence[int]
) -> npt.NDArray[np.uint8]:
    """Frames [B, H, W, C] by DDIM with clipping, from the paper's equation and in float64."""
    weights = {name: weight.double() for name, weight in weights.items()}
    x, vector = torch.from_numpy(noise).double(), torch.from_numpy(condition).double()
    bar = [_alpha_bar(t) for t in timesteps] + [1.0]
    with torch.no_grad():
        for t, now, following in zip(timesteps, bar[:-1], bar[1:], strict=True):
            epsilon = document_forward(weights, x, t, vector)
            x0 = ((x - math.sqrt(1 - now) * epsilon) / math.sqrt(now)).clamp(-1, 1)
            epsilon = (x - math.sqrt(now) * x0) / math.sqrt(1 - now)
            x = math.sqrt(following) * x0 + math.sqrt(1 - following) * epsilon
    return ((x.clamp(-1, 1) + 1) / 2 * 255).round().permute(0, 2, 3, 1).to(torch.uint8).numpy()


def _alpha_bar(t: int, total: int = 1000) -> float:
    """The product of 1 - beta up to and including t, betas of the cosine schedule clipped to 0.999."""

    def f(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    return math.prod(1 - min(1 - f((i + 1) / total) / f(i / total), 0.999) for i in range(t + 1))


if __name__ == "__main__":
    write_checkpoint(sys.argv[1], tiny_checkpoint())
