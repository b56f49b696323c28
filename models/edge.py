"""The project's own network: a small U-Net drawn for inference on edge devices.

A pixel-unshuffle stem trades resolution for channels, so that no convolution runs at full resolution;
blocks have one normalisation each, and its scale and shift come from the timestep and condition (FiLM,
arXiv 1709.07871); ReLU follows the first convolution directly, where every engine fuses it.

    network = EdgeUNet(EdgeConfig(condition_width=26))
    x0 = network(x, timesteps, condition)               # [B, 3, 64, 64]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import torch.nn.functional as F
from msgspec import Meta
from torch import Tensor, nn

from contract.limits import Channels, ConditionWidth
from contract.record import one_of
from models.denoiser import Denoiser, NetworkConfig, Size

EMBEDDING = 256
"""Width of the joint embedding of timestep and condition."""

FREQUENCIES = 64
"""Sines and as many cosines of the timestep, from 1 down to 1/10000 of a radian a step."""

NORMALISATIONS = ("group", "none")
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "silu": F.silu}

BlockWidth = Annotated[int, Meta(ge=32, le=1024, multiple_of=32)]


@dataclass(frozen=True)
class EdgeConfig(NetworkConfig):
    """The shape of an EdgeUNet."""

    WHAT = "edge network"
    OPTIONAL = frozenset({"normalisation", "activation"})  # older checkpoints don't have them

    condition_width: ConditionWidth
    """Numbers in a condition vector."""

    channels: Channels = 3
    size: Size = 64
    """Edge of a square image in pixels, or height and width: multiples of patch * 2^(levels - 1)."""

    patch: Annotated[int, Meta(ge=1, le=16)] = 4
    """Edge of the patches that the stem folds into channels."""

    widths: Annotated[tuple[BlockWidth, ...], Meta(min_length=1, max_length=6)] = (64, 96, 160, 224)
    """Channels of each resolution, finest first; multiples of 32."""

    blocks: Annotated[int, Meta(ge=1, le=8)] = 1
    """Residual blocks of each resolution, on the way down and again on the way up."""

    normalisation: Annotated[str, one_of(*NORMALISATIONS)] = "group"
    """`group`: each block normalises what it reads; `none`: it doesn't, and its FiLM does what is left of that."""

    activation: Annotated[str, one_of(*ACTIVATIONS)] = "relu"
    """`relu`, which every engine fuses into a convolution, or `silu`."""

    arch: Annotated[str, one_of("edge")] = "edge"

    @property
    def multiple(self) -> int:
        return self.patch * int(2 ** (len(self.widths) - 1))


class Block(nn.Module):
    """x + conv(activate(conv(activate(film(normalise(x)))))): the second convolution starts at zero."""

    def __init__(self, inner: int, outer: int, normalised: bool = True, activation: str = "relu") -> None:
        super().__init__()
        self.groups, self.normalised, self.activate = inner // 16, normalised, ACTIVATIONS[activation]
        self.film = nn.Linear(EMBEDDING, 2 * inner)  # applied by the network, for all blocks at once
        self.conv0 = nn.Conv2d(inner, outer, 3, padding=1)
        self.conv1 = nn.Conv2d(outer, outer, 3, padding=1)
        self.skip = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        nn.init.zeros_(self.conv1.weight)
        nn.init.zeros_(self.conv1.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """[B, inner, H, W] with its scale and shift [B, inner, 1, 1] to [B, outer, H, W]."""
        h = F.group_norm(x, self.groups) if self.normalised else x
        h = self.activate(h * scale + shift)
        out: Tensor = self.skip(x) + self.conv1(self.activate(self.conv0(h)))
        return out


class EdgeUNet(Denoiser):
    """A U-Net over patches with FiLM from timestep and condition, and a learned null condition."""

    config: EdgeConfig
    frequencies: Tensor
    unmodulated: Tensor
    """Scale 1 and shift 0 of every block: what FiLM adds to."""

    def __init__(self, config: EdgeConfig) -> None:
        super().__init__()
        self.config = config
        self.patch = config.patch
        patches = config.channels * config.patch**2
        widths = config.widths
        block = partial(Block, normalised=config.normalisation == "group", activation=config.activation)
        self.null_condition = nn.Parameter(torch.zeros(config.condition_width))
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING))
        self.condition = nn.Sequential(
            nn.Linear(config.condition_width, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING)
        )
        self.stem = nn.Conv2d(patches, widths[0], 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            self.down.append(nn.ModuleList(block(width, width) for _ in range(config.blocks)))
            if level + 1 < len(widths):
                self.shrink.append(nn.Conv2d(width, widths[level + 1], 3, stride=2, padding=1))
        self.middle = block(widths[-1], widths[-1])
        self.grow, self.up = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(len(widths))):
            width = widths[level]
            first = block(2 * width, width)
            self.up.append(nn.ModuleList([first, *(block(width, width) for _ in range(config.blocks - 1))]))
            if level:
                self.grow.append(nn.Conv2d(width, widths[level - 1], 3, padding=1))
        self.out = nn.Conv2d(widths[0], patches, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        one = [torch.tensor([1.0, 0.0]).repeat_interleave(block.film.out_features // 2) for block in self.blocks()]
        self.register_buffer("unmodulated", torch.cat(one), persistent=False)
        exponents = torch.arange(FREQUENCIES, dtype=torch.float32) / (FREQUENCIES - 1)
        self.register_buffer("frequencies", torch.exp(-exponents * 9.210340371976184), persistent=False)  # ln 10000

    def blocks(self) -> list[Block]:
        """Every block, in the order in which they run."""
        return [module for module in self.modules() if isinstance(module, Block)]

    def films(self, embedding: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Scale and shift [B, C, 1, 1] of every block from the activated embedding [B, 256], in one product."""
        films = [block.film for block in self.blocks()]
        weight, bias = torch.cat([film.weight for film in films]), torch.cat([film.bias for film in films])
        whole = F.linear(embedding, weight, bias + self.unmodulated)[:, :, None, None]
        halves = [film.out_features // 2 for film in films for _ in range(2)]
        parts = iter(torch.split(whole, halves, dim=1))
        return zip(parts, parts, strict=True)

    def embed_time(self, timesteps: Tensor) -> Tensor:
        """int64 [B] timesteps as float [B, 256]."""
        angles = timesteps.to(self.frequencies.dtype)[:, None] * self.frequencies
        embedding: Tensor = self.time(torch.cat([angles.sin(), angles.cos()], dim=1))
        return embedding

    def denoise(self, x: Tensor, time_embedding: Tensor, condition: Tensor) -> Tensor:
        """The prediction [B, C, H, W] for x [B, C, H, W], embedding [B, 256] and condition [B, D]."""
        films = self.films(F.silu(time_embedding + self.condition(condition)))
        h = self.stem(F.pixel_unshuffle(x, self.patch))
        skips: list[Tensor] = []
        for level, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, *next(films))
            skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
        h = self.middle(h, *next(films))
        for level, blocks in enumerate(self.up):
            h = torch.cat([h, skips.pop()], dim=1)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, *next(films))
            if level < len(self.grow):
                h = F.interpolate(self.grow[level](h), scale_factor=2.0, mode="nearest")
        return F.pixel_shuffle(self.out(ACTIVATIONS[self.config.activation](h)), self.patch)
