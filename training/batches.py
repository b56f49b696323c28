"""Batches of a source in memory, in an order that seed and number alone decide.

batches = Batches(source, size=64, seed=0, face_weight=4.0)
images, condition, weight_map = batches.at(17)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from contract.frames import Frames, scale_pixels
from contract.noise import stream
from models.loss import face_weights
from sources.base import LabelledFrames
from training.run import ORDER_TOPIC


def as_images(frames: Frames, device: str | torch.device = "cpu") -> Tensor:
    """Frames uint8 [N, H, W, C] as images float32 [N, C, H, W] in [-1, 1], channels last in memory."""
    pixels = torch.from_numpy(frames).to(device).permute(0, 3, 1, 2)
    images: Tensor = scale_pixels(pixels.float())
    return images.contiguous(memory_format=torch.channels_last)


class Batches:
    """Every frame once an epoch; batch `number` depends on nothing else, so that a run goes on anywhere."""

    def __init__(
        self,
        source: LabelledFrames,
        size: int,
        seed: int,
        face_weight: float = 0.0,
        eye_weight: float = 0.0,
        device: str | torch.device = "cpu",
    ) -> None:
        """`eye_weight` is the extra weight of the loss at landmarks of the eyes, `face_weight` at all others."""
        self.source, self.size, self.seed, self.device = source, size, seed, torch.device(device)
        names, eyes = source.landmarks.names, source.landmarks.eyes
        self.weights = torch.tensor([eye_weight if name in eyes else face_weight for name in names], device=device)
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def rows(self, number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Row numbers of a batch [size]."""
        count = len(self.source.frames)
        epoch, place = divmod(number, max(1, count // self.size))
        if epoch != self._epoch:
            generator = stream(self.seed, epoch, ORDER_TOPIC)
            whole = count >= self.size
            self._order = generator.permutation(count) if whole else generator.integers(count, size=self.size)
            self._epoch = epoch
        return self._order[place * self.size : (place + 1) * self.size]

    def at(self, number: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images in [-1, 1] [B, C, H, W], conditions [B, D], and the weight map of the loss where there is one."""
        rows = self.rows(number)
        images = as_images(self.source.frames[rows], self.device)
        condition = torch.from_numpy(self.source.conditions[rows]).to(self.device)
        if self.source.points is None or not self.weights.any():
            return images, condition, None
        points = torch.from_numpy(self.source.points[rows]).to(self.device)
        return images, condition, face_weights(points, tuple(images.shape[2:]), self.weights)
