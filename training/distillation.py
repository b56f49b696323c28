"""Guided progressive distillation: a student learns to do in one step what its teacher does in two or more.

    objective = StudentObjective(Teacher(network, diffusion, timesteps, guidance), stage, source)
    run = Run(objective, stage, {"teacher": checkpoint.sha256})

arXiv 2202.00512 (progressive distillation), with the guidance scale folded into the student as in arXiv
2210.03142. The student predicts the clean image, so that sampler, exporter and runtime stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from contract.errors import Refused
from contract.guidance import guided
from contract.noise import stream
from contract.schedule import Diffusion
from models.annotator import TrainedAnnotator
from models.checkpoint import Checkpoint
from models.denoiser import Denoiser
from models.edge import EdgeConfig, EdgeUNet
from models.loss import alpha_bars, targets
from models.networks import build
from sources.base import LabelledFrames
from training.batches import Batches, as_images
from training.image_recipe import ImageRecipe
from training.norm_folding import fold
from training.perceptual_loss import Critic
from training.run import ORDER_TOPIC

FOLDED = 4096
"""Frames that the folding of a normalisation is fitted to."""


@dataclass(frozen=True)
class DistillStage(ImageRecipe):
    """One student: as many times fewer steps as its stride."""

    samples: int = 128_000
    lr: float = 3e-4
    warmup: int = 2_000
    cooldown: float = 1.0
    ema: float = 0.999
    steps: int = 1
    """Of the student; the teacher takes `stride` times as many."""
    stride: int = 2
    """Steps of the teacher that the student does in one: the more, the closer to a trajectory without errors of its
    own, and the dearer each image."""
    consistent: bool = False
    """Whether a student learns where its teacher's trajectory ends, not where the next stride leads."""
    fold: bool = True
    """Whether a student leaves the normalisation of an edge network out (`training.norm_folding`)."""


@dataclass(frozen=True)
class Teacher:
    """A network that predicts x0, and how it is sampled."""

    network: Denoiser
    diffusion: Diffusion
    timesteps: tuple[int, ...]
    """From noise down; a multiple of `stride`."""
    guidance: float = 1.0
    stride: int = 2
    """Of its steps a student does this many in one."""

    @property
    def student_timesteps(self) -> tuple[int, ...]:
        """The first one of each stride: where the student steps."""
        return self.timesteps[:: self.stride]

    @torch.no_grad()
    def trajectory_end(self, x: Tensor, condition: Tensor, index: Tensor) -> Tensor:
        """The image [B, C, H, W] in which the teacher's own trajectory from x ends.

        x is at the student's timestep `index` [B]. What a consistency model learns (arXiv 2303.01469, section 4),
        with the teacher's whole trajectory in place of its next step.
        """
        stops, timesteps = self._stops(x.device), on_device(self.timesteps, x.device)
        for step in range(len(self.timesteps)):
            begun = (self.stride * index <= step)[:, None, None, None]
            here, there = (stops[k].expand(len(x)) for k in (step, step + 1))
            x = torch.where(begun, self._step(x, condition, timesteps[step].expand(len(x)), here, there), x)
        return x.clamp(-1.0, 1.0)

    def _stops(self, device: torch.device) -> Tensor:
        """alpha_bar at each timestep, and 1 after the last, float64 [K + 1]."""
        table = alpha_bars(self.diffusion, device)[on_device(self.timesteps, device)]
        return torch.cat([table, table.new_ones(1)])

    @torch.no_grad()
    def stride_target(self, x: Tensor, condition: Tensor, index: Tensor) -> Tensor:
        """The x0 [B, C, H, W] that takes x, in one DDIM step, where a stride of the teacher takes it.

        x is at the student's timestep `index` [B]. arXiv 2202.00512, appendix G, for two steps or more.
        """
        stops, timesteps = self._stops(x.device), on_device(self.timesteps, x.device)
        first, end = index * self.stride, x
        for k in range(self.stride):
            step = first + k
            end = self._step(end, condition, timesteps[step], stops[step], stops[step + 1])
        alpha, sigma = _scales(stops[first], x)
        alpha_end, sigma_end = _scales(stops[first + self.stride], x)
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
        conditional: Tensor = self.network(x, timesteps, condition).float()
        if self.guidance == 1.0 or self.network.null_condition is None:
            return conditional
        null = self.network.null_condition.expand_as(condition)
        unconditional = self.network(x, timesteps, null).float()
        return guided(conditional, unconditional, self.guidance)  # type: ignore[no-any-return]


def _scales(alpha_bar: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(alpha_bar) and sqrt(1 - alpha_bar), float64 [B], as factors of x [B, C, H, W]."""
    shape = (-1, 1, 1, 1)
    alpha, sigma = alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt()
    return alpha.to(x.dtype).view(shape), sigma.to(x.dtype).view(shape)


@lru_cache(maxsize=8)
def on_device(timesteps: tuple[int, ...], device: torch.device) -> Tensor:
    """Timesteps as int64 [K] on a device, copied once."""
    return torch.tensor(timesteps, device=device)


class StudentObjective:
    """Error of a student's one step against its teacher's.

    The student begins with its teacher's weights, or with those of `start`, an earlier student at the same timesteps;
    Refused where that is another network.
    """

    def __init__(
        self,
        teacher: Teacher,
        stage: DistillStage,
        source: LabelledFrames,
        device: str = "cpu",
        critic: TrainedAnnotator | None = None,
        start: Checkpoint | None = None,
    ) -> None:
        self.teacher, self.stage = teacher, stage
        self.batches = Batches(source, stage.batch, stage.seed, stage.face_weight, stage.eye_weight, device)
        self.critic = Critic(critic, source, stage, device) if critic else None
        teacher.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = _begun(start, teacher, stage) if start else _student(teacher, stage, source)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(self, number: int) -> Tensor:
        """Loss of batch `number`."""
        images, condition, weight_map = self.batches.at(number)
        steps = on_device(self.teacher.student_timesteps, images.device)
        index = torch.randint(len(steps), (len(images),), device=images.device)
        timesteps = steps[index]
        noise = torch.randn(images.shape, device=images.device)
        x, _, weight = targets(self.teacher.diffusion, images, noise, timesteps)
        teach = self.teacher.trajectory_end if self.stage.consistent else self.teacher.stride_target
        target = teach(x, condition, index)
        predicted = self.network(x, timesteps, condition).float()
        error = (predicted - target) ** 2
        if weight_map is not None:
            error = error * weight_map
        loss: Tensor = (error.mean(dim=(1, 2, 3)) * weight).mean()
        if self.critic:  # the last prediction is the frame; what an earlier one leaves open the later ones decide
            certainty = (index + 1) / len(steps)
            loss = loss + self.critic(predicted, target, self.batches.rows(number), certainty)
        return loss


def _begun(start: Checkpoint, teacher: Teacher, stage: DistillStage) -> Denoiser:
    """The student before its first batch: what an earlier one had become."""
    expected = teacher.network.config
    if stage.fold and isinstance(expected, EdgeConfig):
        expected = replace(expected, normalisation="none")
    if start.config != expected:
        raise Refused(f"--init-from: a network {start.config.to_dict()}; this student is {expected.to_dict()}")
    if start.sampler.timesteps != teacher.student_timesteps:
        raise Refused(
            f"--init-from: a student of the timesteps {start.sampler.timesteps}; this one steps at"
            f" {teacher.student_timesteps}"
        )
    return start.network().train().requires_grad_(True)


def _student(teacher: Teacher, stage: DistillStage, source: LabelledFrames) -> Denoiser:
    """The student before its first batch: its teacher, without normalisation where that is to be left out."""
    network = teacher.network
    if stage.fold and isinstance(network, EdgeUNet) and network.config.normalisation != "none":
        rows = stream(stage.seed, stage.steps, ORDER_TOPIC).permutation(len(source.frames))[:FOLDED]
        images, condition = as_images(source.frames[rows]), torch.from_numpy(source.conditions[rows])
        return fold(network, images, condition, teacher.diffusion, teacher.student_timesteps, stage.seed)
    student = build(network.config)
    student.load_state_dict(network.state_dict())
    return student
