"""Guided progressive distillation: a student learns to do in one step what its teacher does in two.

    distiller = Distiller(Teacher(network, diffusion, timesteps, guidance), settings, source)
    loss = distiller.step()

arXiv 2202.00512 (progressive distillation), with the guidance scale folded into the student as in arXiv
2210.03142. The student predicts the clean image, so that sampler, exporter and runtime stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contract.errors import Refused
from contract.guidance import guided
from contract.schedule import Diffusion
from models.annotator import TrainedAnnotator
from models.denoiser import Denoiser
from models.edge import EdgeUNet
from models.networks import build
from sources.base import LabelledFrames
from training.batches import Batches, as_images
from training.norm_folding import fold
from training.perceptual_loss import Critic, Weights

FOLDED = 4096
"""Frames that the folding of a normalisation is fitted to."""

MAX_WEIGHT = 20.0
"""Cap of the loss weight 1 / (1 - alpha_bar), as in training."""


@dataclass(frozen=True)
class DistillStage:
    """One halving of the number of steps."""

    steps: int
    """Of the student; the teacher takes twice as many."""

    samples: int
    """Images seen; the learning rate falls linearly to 0 over them."""

    batch: int = 64
    lr: float = 3e-4
    warmup: int = 2_000
    """Images over which the learning rate rises."""
    ema: float = 0.999
    """Decay of the averaged weights a step, reached gradually."""
    face_weight: float = 4.0
    """Extra weight of the loss around the landmarks of the face."""
    eye_weight: float = 4.0
    """The same around the corners of the eyes."""
    label_weight: float = 0.0
    """Weight of the labels that a critic reads from the prediction."""
    detail_weight: float = 0.0
    """Weight of the distance in the critic's features."""
    critic: str | None = None
    """sha256 of the critic's file, where there is one."""
    consistent: bool = False
    """Whether a student learns where its teacher's trajectory ends, not where the next two steps lead."""
    fold: bool = True
    """Whether a student leaves the normalisation of an edge network out (`training.norm_folding`)."""
    seed: int = 0


@dataclass(frozen=True)
class Teacher:
    """A network that predicts x0, and how it is sampled."""

    network: Denoiser
    diffusion: Diffusion
    timesteps: tuple[int, ...]
    """From noise down; an even number of them."""
    guidance: float = 1.0
    dtype: torch.dtype = torch.bfloat16
    """In which it predicts: what that rounds off is far below what a student misses."""

    @property
    def student_timesteps(self) -> tuple[int, ...]:
        """Every second one: where the student steps."""
        return self.timesteps[::2]

    @torch.no_grad()
    def ends(self, x: Tensor, condition: Tensor, index: Tensor) -> Tensor:
        """The image [B, C, H, W] in which the teacher's own trajectory from x ends.

        x is at the student's timestep `index` [B]. What a consistency model learns (arXiv 2303.01469, section 4),
        with the teacher's whole trajectory in place of its next step.
        """
        stops, timesteps = self._stops(), torch.tensor(self.timesteps, device=x.device)
        for step in range(len(self.timesteps)):
            begun = (2 * index <= step).to(x.device)[:, None, None, None]
            here, there = (stops[k].expand(len(x)) for k in (step, step + 1))
            x = torch.where(begun, self._step(x, condition, timesteps[step].expand(len(x)), here, there), x)
        return x.clamp(-1.0, 1.0)

    def _stops(self) -> Tensor:
        """alpha_bar at each timestep and behind the last, float64 [K + 1]."""
        table = self.diffusion.alpha_bar()
        return torch.tensor([*(float(table[t]) for t in self.timesteps), 1.0], dtype=torch.float64)

    @torch.no_grad()
    def targets(self, x: Tensor, condition: Tensor, index: Tensor) -> Tensor:
        """The x0 [B, C, H, W] that takes x, in one DDIM step, where two steps of the teacher take it.

        x is at the student's timestep `index` [B]. arXiv 2202.00512, appendix G.
        """
        stops = self._stops()
        timesteps = torch.tensor(self.timesteps, device=x.device)
        first, second = index * 2, index * 2 + 1
        middle = self._step(x, condition, timesteps[first], stops[first], stops[second])
        end = self._step(middle, condition, timesteps[second], stops[second], stops[second + 1])
        alpha, sigma = _scales(stops[first], x)
        alpha_end, sigma_end = _scales(stops[second + 1], x)
        ratio = sigma_end / sigma
        x0 = (end - ratio * x) / (alpha_end - ratio * alpha)
        return x0.clamp(-1.0, 1.0)  # the sampler clips, so that the student couldn't use what lies outside

    def _step(self, x: Tensor, condition: Tensor, timesteps: Tensor, here: Tensor, there: Tensor) -> Tensor:
        """One DDIM step from alpha_bar `here` to `there` [B], clipped as the sampler clips."""
        x0 = self._predict(x, condition, timesteps).clamp(-1.0, 1.0)
        alpha, sigma = _scales(here, x)
        alpha_there, sigma_there = _scales(there, x)
        return alpha_there * x0 + sigma_there / sigma * (x - alpha * x0)

    def _predict(self, x: Tensor, condition: Tensor, timesteps: Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32):
            conditional = self.network(x, timesteps, condition).float()
            if self.guidance == 1.0 or self.network.null_condition is None:
                return conditional  # type: ignore[no-any-return]
            null = self.network.null_condition.expand_as(condition)
            unconditional = self.network(x, timesteps, null).float()
        return guided(conditional, unconditional, self.guidance)  # type: ignore[no-any-return]


def _scales(alpha_bar: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(alpha_bar) and sqrt(1 - alpha_bar), float64 [B], as factors of x [B, C, H, W]."""
    shape = (-1, 1, 1, 1)
    alpha, sigma = alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()
    return alpha.to(x.device, x.dtype).view(shape), sigma.to(x.device, x.dtype).view(shape)


class Distiller:
    """Trains the student of one round; it begins with its teacher's weights."""

    def __init__(
        self,
        teacher: Teacher,
        settings: DistillStage,
        source: LabelledFrames,
        device: str = "cpu",
        critic: TrainedAnnotator | None = None,
    ) -> None:
        torch.manual_seed(settings.seed + settings.steps)
        self.settings, self.teacher = settings, teacher
        self.batches = Batches(source, settings.batch, settings.seed, settings.face_weight, settings.eye_weight, device)
        weights = Weights(settings.label_weight, settings.detail_weight)
        self.critic = Critic(critic, source, weights, device) if critic else None
        self.network = self._begin(source)
        teacher.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = dict(self.network.named_parameters())
        self.averaged = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.optimizer = torch.optim.AdamW(self.network.parameters(), settings.lr, (0.9, 0.99), fused=True)
        self.seen = 0

    def _begin(self, source: LabelledFrames) -> Denoiser:
        """The student before its first batch: its teacher, without normalisation where that is to be left out."""
        network = self.teacher.network
        if self.settings.fold and isinstance(network, EdgeUNet) and network.config.normalisation != "none":
            rows = np.random.default_rng(self.settings.seed).permutation(len(source.frames))[:FOLDED]
            images, condition = as_images(source.frames[rows]), torch.from_numpy(source.conditions[rows])
            return fold(network, images, condition, self.teacher.diffusion, self.teacher.student_timesteps)
        student = build(network.config)
        student.load_state_dict(network.state_dict())
        return student

    @property
    def total(self) -> int:
        return self.settings.samples

    @property
    def batch(self) -> int:
        return self.settings.batch

    def learning_rate(self) -> float:
        """Linear warm-up, then a linear fall to 0."""
        s = self.settings
        rise = min(1.0, (self.seen + s.batch) / max(1, s.warmup))
        return s.lr * rise * max(0.0, 1.0 - self.seen / s.samples)

    def step(self) -> float:
        """One batch; returns its loss."""
        s = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        number = self.seen // s.batch
        images, condition, weight_map = self.batches.at(number)
        steps = self.teacher.student_timesteps
        index = torch.randint(len(steps), (len(images),))
        timesteps = torch.tensor(steps)[index]
        alpha_bar = torch.from_numpy(self.teacher.diffusion.alpha_bar())[timesteps]
        alpha, sigma = _scales(alpha_bar, images)
        x = alpha * images + sigma * torch.randn(images.shape, device=images.device)
        teach = self.teacher.ends if s.consistent else self.teacher.targets
        target = teach(x, condition, index)
        with torch.autocast(images.device.type, torch.bfloat16):
            found = self.network(x, timesteps.to(images.device), condition)
        error = (found.float() - target) ** 2
        if weight_map is not None:
            error = error * weight_map
        weight = (1.0 / (1.0 - alpha_bar)).clamp(max=MAX_WEIGHT).to(images.device, images.dtype)
        loss = (error.mean(dim=(1, 2, 3)) * weight).mean()
        if self.critic:  # the last prediction is the frame; what an earlier one leaves open the later ones decide
            certainty = ((index + 1) / len(steps)).to(images.device)
            loss = loss + self.critic(found.float(), target, self.batches.rows(number), certainty)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.seen += s.batch
        done = self.seen / s.batch
        decay = min(s.ema, (1.0 + done) / (10.0 + done))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.values()), list(self.weights.values()), 1.0 - decay)
        return float(loss.detach())

    def state(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {
            "seen": self.seen,
            "weights": self.weights,
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`; Refused where it isn't one."""
        try:
            with torch.no_grad():
                for name, weight in self.weights.items():
                    weight.copy_(state["weights"][name])
                    self.averaged[name].copy_(state["averaged"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            self.seen = int(state["seen"])
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            raise Refused(f"state of a distillation: {str(error)[:100]}; remove it to begin the round anew") from error
