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


def as_images(frames: Frames | Tensor, device: str | torch.device = "cpu") -> Tensor:
    """Frames uint8 [N, H, W, C] as images float32 [N, C, H, W] in [-1, 1], channels last in memory."""
    pixels = torch.as_tensor(frames).to(device).permute(0, 3, 1, 2)
    images: Tensor = scale_pixels(pixels.float())
    return images.contiguous(memory_format=torch.channels_last)


def send(array: np.ndarray[Any, Any], device: torch.device) -> Tensor:
    """A small array's copy on a device, which nothing waits for."""
    return torch.from_numpy(array).to(device, non_blocking=True)


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
        weights = torch.tensor([eye_weight if name in eyes else face_weight for name in names])
        self.weights = weights.to(self.device) if weights.any() and source.points is not None else None
        self._kept = self._keep(("frames", "conditions", "points")) if self.device.type == "cuda" else {}
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

    def images(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
        """Images in [-1, 1] [B, C, H, W] of some rows."""
        return as_images(self._gather("frames", rows), self.device)

    def at(self, number: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Images in [-1, 1] [B, C, H, W], conditions [B, D], and the weight map of the loss where there is one."""
        rows = self.rows(number)
        images, condition = self.images(rows), self._gather("conditions", rows)
        if self.weights is None:
            return images, condition, None
        return images, condition, face_weights(self._gather("points", rows), tuple(images.shape[2:]), self.weights)

    def _keep(self, names: tuple[str, ...]) -> dict[str, Tensor]:
        """The source's arrays in the GPU's memory where at most a quarter of what is free takes them: rows that are
        gathered there don't wait for a copy from the host."""
        arrays = {name: array for name in names if (array := getattr(self.source, name)) is not None}
        if 4 * sum(array.nbytes for array in arrays.values()) > torch.cuda.mem_get_info(self.device)[0]:
            return {}
        return {name: torch.tensor(array, device=self.device) for name, array in arrays.items()}

    def _gather(self, name: str, rows: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
        if name in self._kept:
            return self._kept[name][send(rows, self.device)]
        return send(getattr(self.source, name)[rows], self.device)
