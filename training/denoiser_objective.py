"""A denoiser that predicts the clean image, trained on labelled frames: the teacher of few-step students.

objective = DenoiserObjective(DenoiserRecipe(samples=1_000_000), source)
run = Run(objective, objective.recipe, {"data": source.fingerprint})
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from contract.errors import Refused
from contract.schedule import Diffusion
from models.annotator import TrainedAnnotator
from models.checkpoint import Checkpoint, SamplerDefaults
from models.edge import EdgeConfig
from models.loss import denoising_loss
from models.networks import build
from sources.base import LabelledFrames
from training.batches import Batches
from training.image_recipe import ImageRecipe
from training.lineage import NOTHING_PROVEN, annotator_lineage, driver_lineage, start_lineage
from training.perceptual_loss import Critic
from training.run import Run

DIFFUSION = Diffusion(1000, "cosine-zero", "x0")


@dataclass(frozen=True)
class DenoiserRecipe(ImageRecipe):
    """The network, and what it learns from."""

    widths: tuple[int, ...] = EdgeConfig.widths
    patch: int = EdgeConfig.patch
    blocks: int = EdgeConfig.blocks
    normalisation: str = EdgeConfig.normalisation
    activation: str = EdgeConfig.activation
    dropout: float = 0.1
    """Share of conditions replaced by the null condition, so that guidance has something to steer away from."""
    guidance: float = 2.0
    """Guidance scale that samples and the checkpoint use by default."""
    steps: int = 10
    """Number of DDIM steps that samples and the checkpoint use by default."""
    shift: float = 3.0
    """How far those steps are shifted towards noise by default: docs/fidelity.md measures it."""
    init_from: str | None = None
    """sha256 of the checkpoint whose weights the run began with."""

    def network(self, source: LabelledFrames) -> EdgeConfig:
        """The network for frames of a source; Refused where its numbers don't go together."""
        image = source.image
        chosen = {name: getattr(self, name) for name in ("widths", "patch", "blocks", "normalisation", "activation")}
        chosen |= {"size": [image.height, image.width], "channels": image.channels}
        return EdgeConfig.from_dict(EdgeConfig(source.schema.width).to_dict() | chosen)


class DenoiserObjective:
    """Denoising loss of batches of a source, with a critic's opinion where there is one."""

    def __init__(
        self,
        recipe: DenoiserRecipe,
        source: LabelledFrames,
        device: str = "cpu",
        critic: TrainedAnnotator | None = None,
        start: Checkpoint | None = None,
    ) -> None:
        """`start` gives its weights to begin with; Refused where it is another network than the recipe's."""
        torch.manual_seed(recipe.seed)
        self.recipe, self.source, self.config = recipe, source, recipe.network(source)
        self.network = build(self.config)
        self.before = _begin(self.network, start, self.config, source) if start else {}
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batches = Batches(source, recipe.batch, recipe.seed, recipe.face_weight, recipe.eye_weight, device)
        if critic:
            self.before["critic"] = annotator_lineage(critic)
        self.critic = Critic(critic, source, recipe, device) if critic else None

    def loss(self, number: int) -> Tensor:
        """Loss of batch `number`."""
        images, condition, weight_map = self.batches.at(number)
        judge = self.critic.judge(images, self.batches.rows(number)) if self.critic else None
        return denoising_loss(self.network, DIFFUSION, images, condition, weight_map, self.recipe.dropout, judge)

    def checkpoint(self, run: Run) -> Checkpoint:
        """The run's averaged weights as float16 with what sampling and export need to know."""
        recipe = self.recipe
        lineage = {
            "data": self.source.fingerprint,
            "frames": len(self.source.frames),
            "samples": run.seen,
            "steps": run.seen // recipe.batch,
            "seed": recipe.seed,
            "settings": recipe.to_dict(),
            **NOTHING_PROVEN,
            "drivers": driver_lineage(self.source),
            **self.before,
        }
        stored = {name: weight.half() for name, weight in run.averaged.items()}
        sampler = SamplerDefaults(None, recipe.steps, recipe.guidance, recipe.shift)
        return Checkpoint(self.config, self.source.schema, DIFFUSION, stored, sampler, lineage=lineage)


def _begin(network: torch.nn.Module, start: Checkpoint, config: EdgeConfig, source: LabelledFrames) -> dict[str, Any]:
    """Copy a checkpoint's weights into the network; returns what the lineage says of it."""
    if start.config != config:
        raise Refused(f"--init-from: a network {start.config.to_dict()}; this run trains {config.to_dict()}")
    if start.schema != source.schema or start.diffusion != DIFFUSION:
        raise Refused("--init-from: the checkpoint has another schema or diffusion than this run")
    network.load_state_dict({name: weight.float() for name, weight in start.weights.items()})
    return {"init_from": start.sha256, "before": start_lineage(start.lineage)}
