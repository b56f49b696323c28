"""A frozen annotator that shows a denoiser which labels its prediction lacks, and which details it blurs.

    critic = Critic(trained, source, ImageRecipe(label_weight=0.001, detail_weight=0.1))
    loss = critic(predicted, images, rows, certainty)

Mean squared error hardly sees an iris or a wrinkle, which are what a label is read from. The critic is another
network than the annotator that frames are measured with, trained from another start, so that a frame that only
pleased the critic would gain nothing; an annotator's figures say what it was begun with. What is compared is moved,
brightened, blurred and made noisy as in the critic's own training (arXiv 2401.00110 is about such a loss).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from contract.errors import Refused
from models.annotator import Annotator, TrainedAnnotator
from models.loss import PerceptualLoss
from sources.base import LabelledFrames
from training.annotator_loss import Targets, annotation_loss, augment
from training.batches import send
from training.image_recipe import ImageRecipe


class Critic:
    """Judges predicted images against the labels and features of what they should be."""

    def __init__(
        self, trained: TrainedAnnotator, source: LabelledFrames, recipe: ImageRecipe, device: str | torch.device = "cpu"
    ) -> None:
        if trained.config.image != source.image:
            raise Refused(
                f"critic for frames {list(trained.config.image)}, the data has {list(source.image)} (channels, height,"
                " width); train one with python -m training.train_annotator"
            )
        self.recipe, self.device = recipe, torch.device(device)
        self.network = trained.network(source.schema).to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.targets = Targets.of(source).to(self.device)
        if self.targets.landmarks.names != trained.config.landmarks:
            raise Refused("critic with other landmarks than the data; train one on data of the same kind")

    def __call__(self, predicted: Tensor, images: Tensor, rows: Any, certainty: Tensor) -> Tensor:
        """Weighted loss of `predicted` [B, C, H, W], which should show what the frames `rows` of the source are
        labelled with, and look like `images`; `certainty` [B], 0 to 1, says how much of that a prediction can know."""
        seed = int(torch.randint(2**31, (1,)))
        chosen = self.targets.rows(send(rows, self.device))
        seen, turned = augment(predicted, chosen, seed)
        turned = turned.weighted(certainty)
        stages = features(self.network, seen)
        loss = self.recipe.label_weight * annotation_loss(self.network, seen, turned, body=stages[-1])
        if not self.recipe.detail_weight:
            return loss
        with torch.no_grad():
            real, _ = augment(images, chosen, seed)
            wanted = features(self.network, real)
        share = certainty / certainty.sum().clamp(min=1e-6)
        for found, asked in zip(stages, wanted, strict=True):
            away = (found.float() - asked.float()).permute(0, 2, 3, 1).flatten(1)  # as they lie in memory
            apart = (away**2).mean(dim=1) / (asked.float() ** 2).mean()
            loss = loss + self.recipe.detail_weight / len(stages) * (apart * share).sum()
        return loss

    def judge(self, images: Tensor, rows: Any) -> PerceptualLoss:
        """The same for one batch: what is left to give is `predicted` [B, C, H, W] and `certainty` [B]."""
        return lambda predicted, certainty: self(predicted, images, rows, certainty)


def features(network: Annotator, images: Tensor) -> list[Tensor]:
    """What the body of an annotator makes of images [B, C, H, W] at each of its resolutions, finest first."""
    stages, h = [], images.contiguous(memory_format=torch.channels_last)
    for number, layer in enumerate(network.body):
        if number and isinstance(layer, nn.Conv2d):  # which halves the resolution
            stages.append(h)
        h = layer(h)
    return [*stages, h]
