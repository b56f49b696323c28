"""The classifier that every arm trains: a small annotator that reads the tasks and nothing else.

run = train(phases, validation, recipe_of(protocol, seed=0), folder, label)
predict(run.network, frames)                    # classes of each task, int64 [N, tasks]
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from audit.stats.confusion import across_tasks, confusion_by_group
from audit.utility.plan import Protocol
from contract.annotation import class_fields
from contract.errors import Refused
from contract.files import write_whole
from contract.frames import Frames
from models.annotator import Annotator, AnnotatorConfig
from models.safe_load import load_archive
from sources.base import LabelledFrames
from training.annotator_loss import Targets, annotation_loss
from training.batches import Batches, as_images
from training.run import Recipe, Run

WIDTHS, BLOCKS = (32, 32, 64), 1
"""A network that one CPU core trains on 400 frames of 64 pixels a second."""

CHOICES = 10
"""Moments of a run among which the validation frames choose."""

READ_AT_ONCE = 250


def recipe_of(protocol: Protocol, seed: int) -> Recipe:
    """The same budget of images, batch size and learning rates for every arm."""
    return Recipe(
        samples=protocol.samples,
        batch=protocol.batch,
        lr=1e-3,
        warmup=protocol.samples // 20,
        cooldown=0.5,
        weight_decay=0.05,
        ema=0.99,
        seed=seed,
    )


def make_network(frames: LabelledFrames) -> Annotator:
    """A classifier for frames of that shape and those tasks, with the initial weights that torch's seed gives."""
    image = frames.image
    config = AnnotatorConfig(image.channels, (image.height, image.width), WIDTHS, BLOCKS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # no numbers, no landmarks
        return Annotator(config, frames.schema)


class TaskObjective:
    """Cross entropy of the tasks over phases of equally many steps."""

    def __init__(self, recipe: Recipe, phases: Sequence[LabelledFrames]) -> None:
        torch.manual_seed(recipe.seed)
        self.network: nn.Module = make_network(phases[0]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.phases, self.steps = phases, -(-recipe.samples // recipe.batch)
        self.targets = [Targets.of(phase) for phase in phases]
        self.batches = [Batches(phase, recipe.batch, recipe.seed) for phase in phases]

    def loss(self, number: int) -> Tensor:
        """Loss of batch `number`."""
        phase = min(len(self.phases) - 1, number * len(self.phases) // self.steps)
        rows = self.batches[phase].rows(number)
        labels = self.targets[phase].rows(torch.from_numpy(rows))
        return annotation_loss(self.network, as_images(self.phases[phase].frames[rows]), labels)  # type: ignore[arg-type]


@dataclass
class Choice:
    """The moment of a run that does best on the validation frames."""

    score: float
    samples: int
    network: nn.Module


def train(
    phases: Sequence[LabelledFrames], validation: LabelledFrames, recipe: Recipe, folder: Path, label: dict[str, Any]
) -> Choice:
    """Train on the phases, one after the other, and keep the averaged weights with the best macro-F1 on validation."""
    run = Run(TaskObjective(recipe, phases), recipe)
    best = Choice(-1.0, 0, copy.deepcopy(run.network))

    def choose() -> None:
        nonlocal best
        network = run.averaged_network()
        score = macro_f1(validation, predict(network, validation.frames))
        if score > best.score:
            best = Choice(score, run.seen, network)

    run.train(folder, max(recipe.batch, recipe.samples // CHOICES), choose, label)
    return best


def save_network(network: nn.Module, path: Path) -> None:
    """Write the weights, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    write_whole(path, buffer.getvalue())


def read_network(path: Path, frames: LabelledFrames) -> Annotator:
    """The classifier that was saved, for frames of that shape and those tasks; Refused where the file is another."""
    network = make_network(frames)
    try:
        network.load_state_dict(load_archive(path)[0])
    except (TypeError, ValueError, RuntimeError, AttributeError, OSError) as error:
        raise Refused(f"{path}: damaged, or of another classifier; remove it with its .json to train again") from error
    return network.eval().requires_grad_(False)


@torch.no_grad()
def predict(network: nn.Module, frames: Frames) -> npt.NDArray[np.int64]:
    """The class of each task, in the order of the network's schema: [N, tasks]."""
    assert isinstance(network, Annotator)
    slices, found = class_fields(network.schema).values(), []
    for first in range(0, len(frames), READ_AT_ONCE):
        logits = network.read(as_images(frames[first : first + READ_AT_ONCE]))[0]
        found.append(torch.stack([logits[:, slots].argmax(dim=1) for slots in slices], dim=1).numpy())
    return np.concatenate(found)


def true_classes(source: LabelledFrames) -> npt.NDArray[np.int64]:
    """The class of each task, [N, tasks]; -1 where a frame hides it."""
    return np.where(source.hidden, -1, Targets.of(source).classes.numpy())


def macro_f1(source: LabelledFrames, predicted: npt.NDArray[np.int64]) -> float:
    """Macro-F1, averaged over the tasks."""
    true, everyone = true_classes(source), np.zeros(len(predicted), np.int64)
    tables = [
        confusion_by_group(true[:, column], predicted[:, column], everyone, len(field.values), 1)[0]
        for column, field in enumerate(source.schema.fields)
    ]
    return float(across_tasks(tables)["macro_f1"])
