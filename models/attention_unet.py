"""A U-Net with linear attention at every resolution and full attention at the coarsest.

Its state-dict keys are those of the files that denoising-diffusion-pytorch's trainer writes, so that networks trained
there load. It is unconditional: whatever the condition, it isn't read.

    network = AttentionUNet(AttentionUNetConfig(size=64, dim=64, widths=(64, 64, 128, 256, 512)))
    v = network(x, timesteps, condition)                  # [B, 3, 64, 64]
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.denoiser import Denoiser, NetworkConfig, Size

MEMORIES = 4
"""Learned keys and values of each attention, beside those of the image."""


@dataclass(frozen=True)
class AttentionUNetConfig(NetworkConfig):
    """Shape of an AttentionUNet."""

    WHAT = "attention U-Net"

    channels: int = 3
    size: Size = 64
    """Edge of a square image in pixels, or height and width: multiples of 2^(levels - 1)."""

    dim: int = 64
    """Sines and cosines of the timestep; the embedding has 4 times as many numbers."""

    widths: tuple[int, ...] = (64, 64, 128, 256, 512)
    """Channels of the stem, then those that each level leads to."""

    heads: tuple[int, ...] = (4, 4, 4, 4)
    head_width: tuple[int, ...] = (32, 32, 32, 32)
    full: tuple[bool, ...] = (False, False, False, True)
    """Of each level's attention: heads, their width, and whether every pixel attends to every other."""

    theta: float = 10_000.0
    """Ratio of the highest frequency of the time embedding to the lowest."""

    condition_width: int = 1
    arch: str = "attention-unet"

    @property
    def multiple(self) -> int:
        return int(2 ** (len(self.heads) - 1))


class AttentionUNet(Denoiser):
    """A noise, v or image predictor without a condition."""

    config: AttentionUNetConfig

    def __init__(self, config: AttentionUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.null_condition = None
        time, widths, levels = 4 * config.dim, config.widths, range(len(config.heads))
        self.init_conv = nn.Conv2d(config.channels, widths[0], 7, padding=3)
        self.time_mlp = nn.Sequential(nn.Identity(), nn.Linear(config.dim, time), nn.GELU(), nn.Linear(time, time))

        def attention(width: int, level: int) -> nn.Module:
            kind = FullAttention if config.full[level] else LinearAttention
            return kind(width, config.heads[level], config.head_width[level])

        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level in levels:
            inner, outer = widths[level], widths[level + 1]
            last = level == levels[-1]
            shrink = nn.Conv2d(inner, outer, 3, padding=1) if last else _then(nn.PixelUnshuffle(2), 4 * inner, outer, 1)
            blocks = [ResidualBlock(inner, inner, time) for _ in range(2)]
            self.downs.append(nn.ModuleList([*blocks, attention(inner, level), shrink]))
        self.mid_block1 = ResidualBlock(widths[-1], widths[-1], time)
        self.mid_attn = FullAttention(widths[-1], config.heads[-1], config.head_width[-1])
        self.mid_block2 = ResidualBlock(widths[-1], widths[-1], time)
        for level in reversed(levels):
            inner, outer = widths[level], widths[level + 1]
            larger = nn.Upsample(scale_factor=2, mode="nearest")
            grow = _then(larger, outer, inner, 3) if level else nn.Conv2d(outer, inner, 3, padding=1)
            blocks = [ResidualBlock(outer + inner, outer, time) for _ in range(2)]
            self.ups.append(nn.ModuleList([*blocks, attention(outer, level), grow]))
        self.final_res_block = ResidualBlock(2 * widths[0], widths[0], time)
        self.final_conv = nn.Conv2d(widths[0], config.channels, 1)

    def embed_time(self, timesteps: Tensor) -> Tensor:
        """int64 [B] timesteps as float [B, 4 dim]."""
        half = self.config.dim // 2
        exponents = torch.arange(half, device=timesteps.device) * -(math.log(self.config.theta) / (half - 1))
        angles = timesteps[:, None].float() * torch.exp(exponents)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1).to(self.final_conv.weight.dtype)
        embedding: Tensor = self.time_mlp(waves)
        return embedding

    def denoise(self, x: Tensor, time_embedding: Tensor, condition: Tensor) -> Tensor:
        """The prediction [B, C, H, W] for x [B, C, H, W] and embedding [B, 4 dim]; the condition isn't read."""
        t = F.silu(time_embedding)
        h = stem = self.init_conv(x)
        skips: list[Tensor] = []
        for level in self.downs:
            first, second, attention, shrink = cast(nn.ModuleList, level)
            h = first(h, t)
            skips.append(h)
            h = second(h, t)
            h = attention(h) + h
            skips.append(h)
            h = shrink(h)
        h = self.mid_block1(h, t)
        h = self.mid_attn(h) + h
        h = self.mid_block2(h, t)
        for level in self.ups:
            first, second, attention, grow = cast(nn.ModuleList, level)
            h = first(torch.cat([h, skips.pop()], dim=1), t)
            h = second(torch.cat([h, skips.pop()], dim=1), t)
            h = attention(h) + h
            h = grow(h)
        h = self.final_res_block(torch.cat([h, stem], dim=1), t)
        prediction: Tensor = self.final_conv(h)
        return prediction


def _then(resize: nn.Module, inner: int, outer: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(resize, nn.Conv2d(inner, outer, kernel, padding=kernel // 2))


class PixelNorm(nn.Module):
    """Each pixel's channels to the length sqrt(channels), times a learned gain (arXiv 1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, width, 1, 1))
        self.length = width**0.5

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = F.normalize(x, dim=1) * (self.g * self.length)
        return scaled


class ConvolutionBlock(nn.Module):
    """Convolution, normalisation, scale and shift where there are any, SiLU."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inner, outer, 3, padding=1)
        self.norm = PixelNorm(outer)

    def forward(self, x: Tensor, film: Tensor | None = None) -> Tensor:
        h: Tensor = self.norm(self.proj(x))
        if film is not None:
            scale, shift = film[:, :, None, None].chunk(2, dim=1)
            h = h * (scale + 1.0) + shift
        return F.silu(h)


class ResidualBlock(nn.Module):
    """Two convolution blocks beside a skip; the first gets its scale and shift from the activated time embedding."""

    def __init__(self, inner: int, outer: int, time: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Identity(), nn.Linear(time, 2 * outer))
        self.block1, self.block2 = ConvolutionBlock(inner, outer), ConvolutionBlock(outer, outer)
        self.res_conv = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h: Tensor = self.block2(self.block1(x, self.mlp(time))) + self.res_conv(x)
        return h


class LinearAttention(nn.Module):
    """Attention in time linear in the pixels: softmax over features of q and over pixels of k (arXiv 1812.01243)."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.norm = PixelNorm(width)
        self.mem_kv = nn.Parameter(torch.randn(2, heads, head_width, MEMORIES))
        self.to_qkv = nn.Conv2d(width, 3 * heads * head_width, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(heads * head_width, width, 1), PixelNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        split = self.to_qkv(self.norm(x)).reshape(batch, 3, self.heads, self.head_width, height * width)
        q, k, v = split.unbind(1)
        k, v = (
            torch.cat([memory.expand(batch, -1, -1, -1), own], 3)
            for memory, own in zip(self.mem_kv, (k, v), strict=True)
        )
        context = k.softmax(dim=3) @ v.transpose(2, 3)  # [B, heads, d, e]
        out = context.transpose(2, 3) @ (q.softmax(dim=2) * self.head_width**-0.5)
        mixed: Tensor = self.to_out(out.reshape(batch, -1, height, width))
        return mixed


class FullAttention(nn.Module):
    """Every pixel attends to every other, and to the learned memories (arXiv 1706.03762)."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.norm = PixelNorm(width)
        self.mem_kv = nn.Parameter(torch.randn(2, heads, MEMORIES, head_width))
        self.to_qkv = nn.Conv2d(width, 3 * heads * head_width, 1, bias=False)
        self.to_out = nn.Conv2d(heads * head_width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        split = self.to_qkv(self.norm(x)).reshape(batch, 3, self.heads, self.head_width, height * width)
        q, k, v = split.transpose(3, 4).unbind(1)
        k, v = (
            torch.cat([memory.expand(batch, -1, -1, -1), own], 2)
            for memory, own in zip(self.mem_kv, (k, v), strict=True)
        )
        weights = (q @ k.transpose(2, 3) * self.head_width**-0.5).softmax(dim=3)
        out = (weights @ v).transpose(2, 3).reshape(batch, -1, height, width)
        mixed: Tensor = self.to_out(out)
        return mixed
