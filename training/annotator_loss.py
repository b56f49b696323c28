"""What an annotator learns from: labels as targets, frames as a camera might have seen them, the loss, calibration.

targets = Targets.of(source)                                   # every frame of a source
images, chosen = augment(images, targets.rows(rows), seed)
loss = annotation_loss(network, images, chosen)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from contract.annotation import Annotation, class_fields, number_fields
from contract.conditions import Schema
from contract.errors import Refused
from contract.noise import stream
from models.annotator import Annotator
from sources.base import LabelledFrames, Landmarks

SHIFT = 2
"""Pixels by which a batch is moved at most, at 64 pixels."""

TURN, ZOOM, MOVE = 0.14, 0.12, 0.1
"""Largest turn in radians, change of size, and move as a share of half the picture, of each image by itself."""

MOVE_TOPIC = 21
"""Random stream of how far a batch is moved."""

GAIN = 0.12
NOISE = 0.03
BLUR = 0.6
"""Largest change of exposure, noise (of a range of 2) and share of a 3 x 3 mean: a generated frame is smoother or
rougher than a rendered one, which mustn't read as another label."""

SMOOTH = 0.05
"""Error of a number, as a share of half its range, below which the loss is quadratic."""

NUMBER_WEIGHT, DOUBT_WEIGHT = 2.0, 0.1
"""Of a number and of its expected error, where a class weighs 1; with 4 for numbers and 80 for landmarks, classes were
learnt more slowly (docs/fidelity.md)."""

POINT_SMOOTH, POINT_WEIGHT = 0.01, 20.0
"""The same of a landmark, as a share of the picture, and its weight."""


@dataclass(frozen=True)
class Targets:
    """Labels of N frames."""

    schema: Schema
    classes: Tensor
    """int64 [N, K]: index of the class, a column for each class field"""
    numbers: Tensor
    """float32 [N, M]: -1 to 1 over each number's range"""
    visible: Tensor
    """bool [N, fields]: what the frame shows, in the schema's order; float32 where frames are weighted"""
    points: Tensor
    """float32 [N, L, 2]"""
    landmarks: Landmarks
    """What they are; without names where the source knows none."""

    @staticmethod
    def of(source: LabelledFrames) -> Targets:
        """The labels of every frame of a source; one without landmarks has none to learn."""
        schema, vectors = source.schema, source.conditions
        if not any(field.is_class for field in schema.fields):
            raise Refused(f"the schema {schema.name!r} has numbers only; an annotator reads one class field at least")
        classes = [field.nearest(vectors[:, field.slots]) for field in schema.fields if field.is_class]
        numbers = vectors[:, [field.offset for field in schema.fields if not field.is_class]]
        points = np.zeros((len(vectors), 0, 2), np.float32) if source.points is None else source.points
        return Targets(
            schema,
            torch.from_numpy(np.stack(classes, axis=1)),
            torch.from_numpy(numbers.astype(np.float32)),
            torch.from_numpy(~source.hidden),
            torch.from_numpy(points),
            source.landmarks if source.points is not None else Landmarks(),
        )

    def to(self, device: torch.device) -> Targets:
        """The same on a device."""
        parts = ("classes", "numbers", "visible", "points")
        return replace(self, **{name: getattr(self, name).to(device) for name in parts})

    def weighted(self, weights: Tensor) -> Targets:
        """The same with a weight for each frame [N]: `visible` becomes float32, 0 where a frame hides a field."""
        return replace(self, visible=self.visible * weights[:, None])

    def rows(self, chosen: Any) -> Targets:
        """The labels of some frames."""
        return replace(
            self,
            classes=self.classes[chosen],
            numbers=self.numbers[chosen],
            visible=self.visible[chosen],
            points=self.points[chosen],
        )


def warp(images: Tensor, targets: Targets, seed: int) -> tuple[Tensor, Targets]:
    """Images [B, C, H, W] turned, zoomed and moved, each otherwise, with the landmarks of that.

    Small enough for all other labels to stay: a network that has seen few people learns their pictures by heart else.
    """
    (batch, _, height, width), device = images.shape, images.device
    u = 2.0 * torch.rand(batch, 4, generator=torch.Generator(device).manual_seed(seed), device=device) - 1.0
    angle, zoom, middle = TURN * u[:, 0], 1.0 + ZOOM * u[:, 1], MOVE * u[:, 2:]
    cos, sin, long = zoom * angle.cos(), zoom * angle.sin(), height / width  # a turn of pixels, not of shares
    rows = [torch.stack([cos, -sin * long], 1), torch.stack([sin / long, cos], 1)]
    turn = torch.stack(rows, 1)
    with torch.autocast(device.type, enabled=False):  # in bfloat16 the picture would move by another half pixel
        grid = F.affine_grid(torch.cat([turn, middle[:, :, None]], 2), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    centred = 2.0 * targets.points - 1.0 - middle[:, None]
    points = (torch.linalg.solve(turn, centred.transpose(1, 2)).transpose(1, 2) + 1.0) / 2.0
    return images, replace(targets, points=points)


def augment(images: Tensor, targets: Targets, seed: int) -> tuple[Tensor, Targets]:
    """Images [B, C, H, W] in [-1, 1] mirrored, moved, brightened, blurred and made noisy, with the labels of that."""
    (batch, _, height, width), device = images.shape, images.device
    generator = torch.Generator(device).manual_seed(seed)
    u = torch.rand(batch, 4, generator=generator, device=device)
    mirrored = u[:, 0] < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    reach = max(1, SHIFT * max(height, width) // 64)
    dx, dy = stream(seed, 0, MOVE_TOPIC).integers(-reach, reach + 1, size=2).tolist()  # a GPU's would be waited for
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    images = padded[:, :, reach - dy : reach - dy + height, reach - dx : reach - dx + width]
    share = (BLUR * (2.0 * u[:, 1] - 1.0).clamp(min=0.0))[:, None, None, None]  # half of them stay sharp
    images = images + share * (_mean_of_9(images) - images)
    images = (images + 1.0) * (1.0 + GAIN * (2.0 * u[:, 2] - 1.0))[:, None, None, None] - 1.0
    noise = torch.randn(images.shape, generator=generator, device=device)
    images = (images + (NOISE * u[:, 3])[:, None, None, None] * noise).clamp(-1.0, 1.0)
    return images, _moved(_mirror(targets, mirrored), dx / width, dy / height)


def _mean_of_9(images: Tensor) -> Tensor:
    """The mean of each pixel and its neighbours, one direction after the other; borders repeat themselves."""
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    columns = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    return (columns[..., :-2, :] + columns[..., 1:-1, :] + columns[..., 2:, :]) / 9.0


def _mirror(targets: Targets, mirrored: Tensor) -> Targets:
    columns = number_fields(targets.schema)
    sign = targets.numbers.new_ones(len(columns))
    for name, column in columns.items():
        if targets.schema.field(name).mirrored:
            sign[column] = -1.0
    numbers = torch.where(mirrored[:, None], targets.numbers * sign, targets.numbers)
    names, pairs = targets.landmarks.names, targets.landmarks.mirror
    other_side = dict(pairs) | {right: left for left, right in pairs}
    order = torch.tensor([names.index(other_side.get(name, name)) for name in names], dtype=torch.int64)
    points = targets.points[:, order.to(mirrored.device, non_blocking=True)]
    points = torch.stack([1.0 - points[..., 0], points[..., 1]], dim=-1)
    return replace(targets, numbers=numbers, points=torch.where(mirrored[:, None, None], points, targets.points))


def _moved(targets: Targets, dx: float, dy: float) -> Targets:
    return replace(targets, points=torch.stack([targets.points[..., 0] + dx, targets.points[..., 1] + dy], dim=-1))


def annotation_loss(network: Annotator, images: Tensor, targets: Targets, body: Tensor | None = None) -> Tensor:
    """Cross entropy of each visible class, robust error of each visible number and landmark, and a Laplace
    likelihood from which only the expected errors learn, so that doubt doesn't buy a smaller error.

    `body` is what the network's body made of the images, where that is known already."""
    logits, numbers, log_errors, landmarks, _ = (array.float() for array in network.read(images, body))
    shown = dict(zip(targets.schema.names, targets.visible.unbind(1), strict=True))
    total = logits.new_zeros(())
    for column, (name, slots) in enumerate(class_fields(targets.schema).items()):
        each = F.cross_entropy(logits[:, slots], targets.classes[:, column], reduction="none")
        total = total + _mean(each, shown[name])
    for name, column in number_fields(targets.schema).items():
        found, asked = numbers[:, column], targets.numbers[:, column]
        each = F.smooth_l1_loss(found, asked, beta=SMOOTH, reduction="none")
        doubt = (found - asked).abs().detach() * (-log_errors[:, column]).exp() + log_errors[:, column]
        total = total + _mean(NUMBER_WEIGHT * each + DOUBT_WEIGHT * doubt, shown[name])
    if targets.landmarks.names:
        each = F.smooth_l1_loss(landmarks, targets.points, beta=POINT_SMOOTH, reduction="none").mean(dim=(1, 2))
        total = total + POINT_WEIGHT * _mean(each, targets.visible.amax(dim=1))
    return total


def _mean(each: Tensor, shown: Tensor) -> Tensor:
    weights = shown.to(each.dtype)
    return (each * weights).sum() / weights.sum().clamp(min=1e-6)


def scores(annotation: Annotation, targets: Targets) -> dict[str, Any]:
    """Accuracy of each class field and mean absolute error of each number (in its unit) where they are visible."""
    shown = dict(zip(targets.schema.names, targets.visible.numpy().T, strict=True))
    accuracy, mae = {}, {}
    for column, (name, slots) in enumerate(class_fields(targets.schema).items()):
        right = annotation.probabilities[:, slots].argmax(axis=1) == targets.classes[:, column].numpy()
        accuracy[name] = _share(right, shown[name])
    for name, column in number_fields(targets.schema).items():
        field = targets.schema.field(name)
        asked = field.low + (targets.numbers[:, column].numpy() + 1.0) / 2.0 * (field.high - field.low)
        mae[name] = _share(np.abs(annotation.numbers[:, column] - asked), shown[name])
    distance = np.linalg.norm(annotation.landmarks - targets.points.numpy(), axis=2)
    found = {"frames": len(shown[targets.schema.names[0]]), "class_accuracy": accuracy, "mae": mae}
    return found | {"landmarks": round(float(distance.mean()), 5) if distance.size else None}


def _share(values: Any, shown: Any) -> float | None:
    return round(float(values[shown].mean()), 5) if shown.any() else None


@torch.no_grad()
def calibrate(network: Annotator, images: Tensor, targets: Targets) -> None:
    """Fit the temperature of each class field and the factor of each expected error on held-out frames.

    The temperature with the smallest negative log likelihood of a fine grid (arXiv 1706.04599, section 4.2). Fields
    that no frame shows stay as they are.
    """
    parts = [network.read(batch) for batch in torch.split(images, 256)]
    logits, numbers, log_errors = (torch.cat([part[i] for part in parts]).float() for i in range(3))
    shown = dict(zip(targets.schema.names, targets.visible.unbind(1), strict=True))
    grid = torch.logspace(-1.0, 1.0, 161)
    for column, (name, slots) in enumerate(class_fields(targets.schema).items()):
        rows = shown[name]
        if not rows.any():
            continue
        losses = [F.cross_entropy(logits[rows, slots] / t, targets.classes[rows, column]) for t in grid]
        network.temperature[column] = grid[int(torch.stack(losses).argmin())]
    for name, column in number_fields(targets.schema).items():
        rows = shown[name]
        if not rows.any():
            continue
        real = (numbers[rows, column].clamp(-1, 1) - targets.numbers[rows, column]).abs().mean()
        network.error_scale[column] = real / log_errors[rows, column].exp().mean()
