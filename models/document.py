"""The source document's conditional U-Net, with its skips taken before pooling so that every shape meets.

Its state-dict keys are the document's, so that networks trained with the document's own code load.

    network = Document(DocumentConfig(size=64))
    epsilon = network(x, timesteps, condition)             # [B, 3, 64, 64]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor, nn

from contract.limits import ConditionWidth
from contract.record import one_of
from models.denoiser import Denoiser, NetworkConfig, Size

EMBEDDING = 256
"""Width of the time embedding and of the encoded condition that is added to it."""

CONDITION_HIDDEN = 128
LOWEST_FREQUENCY = 1e-4
POOLINGS = 3


@dataclass(frozen=True)
class DocumentConfig(NetworkConfig):
    """Shape of the document's network; it always predicts epsilon and has no null condition."""

    WHAT = "document network"

    channels: Annotated[int, Meta(ge=1, le=4)] = 3
    """Channels of the image."""

    size: Size = 256
    """Edge of a square image in pixels, or height and width: multiples of 8 (three poolings)."""

    condition_width: ConditionWidth = 10
    """Width of the condition vector."""

    base: Annotated[int, Meta(ge=1, le=256)] = 128
    """Channels of the first block; the others have 2 and 4 times as many."""

    arch: Annotated[str, one_of("document")] = "document"

    @property
    def multiple(self) -> int:
        return int(2**POOLINGS)


class Document(Denoiser):
    """Noise predictor of the source document: a three-level U-Net steered by time plus encoded condition."""

    def __init__(self, config: DocumentConfig) -> None:
        super().__init__()
        self.config = config
        self.null_condition = None
        self.unet = UNet(config.channels, config.base)
        self.condition_encoder = ConditionEncoder(config.condition_width)

    def embed_time(self, timesteps: Tensor) -> Tensor:
        """Sines, then cosines, of int64 [B] timesteps at 128 frequencies from 1 down to 1/10000: [B, 256]."""
        half = EMBEDDING // 2
        exponents = torch.arange(half, dtype=torch.float32, device=timesteps.device) / (half - 1)
        angles = timesteps[:, None].float() * torch.exp(math.log(LOWEST_FREQUENCY) * exponents)
        return torch.cat([angles.sin(), angles.cos()], dim=1).to(self.unet.out.weight.dtype)

    def denoise(self, x: Tensor, time_embedding: Tensor, condition: Tensor) -> Tensor:
        """The predicted noise [B, C, H, W] for x [B, C, H, W], embedding [B, 256] and condition [B, D]."""
        prediction: Tensor = self.unet(x, time_embedding + self.condition_encoder(condition))
        return prediction


class ConditionEncoder(nn.Module):
    """The condition vector [B, D] as an embedding [B, 256]."""

    def __init__(self, condition_width: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(condition_width, CONDITION_HIDDEN), nn.ReLU(), nn.Linear(CONDITION_HIDDEN, EMBEDDING)
        )

    def forward(self, condition: Tensor) -> Tensor:
        encoded: Tensor = self.encoder(condition)
        return encoded


class UNet(nn.Module):
    """Down to an eighth of the size and back, each level's skip taken before pooling."""

    def __init__(self, channels: int, base: int) -> None:
        super().__init__()
        self.down1 = Block(channels, base)
        self.down2 = Block(base, 2 * base)
        self.down3 = Block(2 * base, 4 * base)
        self.mid = Block(4 * base, 4 * base)
        self.up1 = Block(4 * base + 4 * base, 2 * base)
        self.up2 = Block(2 * base + 2 * base, base)
        self.up3 = Block(base + base, base)
        self.out = nn.Conv2d(base, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        skip1 = self.down1(x, embedding)
        skip2 = self.down2(F.max_pool2d(skip1, 2), embedding)
        skip3 = self.down3(F.max_pool2d(skip2, 2), embedding)
        h = self.mid(F.max_pool2d(skip3, 2), embedding)
        h = self.up1(_upsampled_beside(h, skip3), embedding)
        h = self.up2(_upsampled_beside(h, skip2), embedding)
        h = self.up3(_upsampled_beside(h, skip1), embedding)
        prediction: Tensor = self.out(h)
        return prediction


class Block(nn.Module):
    """Two 3x3 convolutions with ReLU, then a projection of the embedding added to each channel."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.ReLU(),
        )
        self.time_proj = nn.Linear(EMBEDDING, out_channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        added: Tensor = self.conv(x) + self.time_proj(embedding)[:, :, None, None]
        return added


def _upsampled_beside(h: Tensor, skip: Tensor) -> Tensor:
    upsampled = F.interpolate(h, scale_factor=2.0, mode="bilinear", align_corners=True)
    return torch.cat([upsampled, skip], dim=1)
