"""The network that reads labels back from frames, trained on labelled frames and calibrated on held-out ones.

objective = AnnotatorObjective(AnnotatorRecipe(), source)
annotator = objective.finished(run, held_out)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from contract.errors import Refused
from models.annotator import Annotator, AnnotatorConfig, TrainedAnnotator
from sources.base import LabelledFrames
from sources.drivers import drivers_of
from training.annotator_loss import Targets, annotation_loss, augment, calibrate, scores, warp
from training.batches import Batches, as_images, send
from training.lineage import annotator_lineage, driver_lineage
from training.run import Recipe, Run


@dataclass(frozen=True)
class AnnotatorRecipe(Recipe):
    """The network, and what it begins with."""

    samples: int = 600_000
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 30_000
    cooldown: float = 1.0
    weight_decay: float = 0.3
    clip: float = 5.0
    widths: tuple[int, ...] = (32, 64, 96)
    blocks: int = 2
    begun: str | None = None
    """sha256 of the file whose annotator the run begins with, where it doesn't begin anew."""


class AnnotatorObjective:
    """Annotation loss of augmented batches of a source."""

    def __init__(
        self,
        recipe: AnnotatorRecipe,
        source: LabelledFrames,
        device: str = "cpu",
        start: TrainedAnnotator | None = None,
    ) -> None:
        """`start` gives its weights to begin with; Refused where it is another network than the recipe's."""
        torch.manual_seed(recipe.seed)
        self.recipe, self.source, self.device = recipe, source, torch.device(device)
        targets, image = Targets.of(source), source.image
        sides, names = (image.height, image.width), targets.landmarks.names
        config = AnnotatorConfig(image.channels, sides, recipe.widths, recipe.blocks, landmarks=names)
        self.network = Annotator(AnnotatorConfig.from_dict(config.to_dict()), source.schema)
        self.before = {"before": annotator_lineage(start)} if start else {}
        if start:
            if start.config != self.network.config:
                raise Refused(f"--init-from: an annotator {start.config.to_dict()}; this run trains {config.to_dict()}")
            self.network.load_state_dict(start.network(source.schema).state_dict())
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.targets = targets.to(self.device)
        self.batches = Batches(source, recipe.batch, recipe.seed, device=device)

    def loss(self, number: int) -> Tensor:
        """Loss of batch `number`."""
        rows = self.batches.rows(number)
        labels = self.targets.rows(send(rows, self.device))
        images, labels = warp(self.batches.images(rows), labels, int(torch.randint(2**62, ())))
        images, labels = augment(images, labels, int(torch.randint(2**62, ())))
        return annotation_loss(self.network, images.contiguous(memory_format=torch.channels_last), labels)

    def finished(self, run: Run, held_out: LabelledFrames) -> TrainedAnnotator:
        """The averaged weights, calibrated on one half of held-out people and measured on the other."""
        network = Annotator(self.network.config, self.source.schema)
        network.load_state_dict(run.averaged_network().state_dict())
        network.eval().requires_grad_(False)
        targets = Targets.of(held_out)
        even, odd = _halves(held_out)
        calibrate(network, as_images(held_out.frames[even]), targets.rows(even))
        lineage: dict[str, Any] = {"data": self.source.fingerprint, "drivers": driver_lineage(self.source)}
        stored = TrainedAnnotator.of(network, {}, lineage | self.before)
        figures = scores(stored.network(self.source.schema).annotate(held_out.frames[odd]), targets.rows(odd))
        figures |= {
            "begun": self.recipe.begun,
            "seed": self.recipe.seed,
            "samples": run.seen,
            "data": self.source.fingerprint,
            "held_out_data": held_out.fingerprint,
        }
        return replace(stored, held_out=figures)


def _halves(source: LabelledFrames) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows of every other driver, and of the others."""
    _, number = np.unique(drivers_of(source), return_inverse=True)
    return np.flatnonzero(number % 2 == 0), np.flatnonzero(number % 2 == 1)
