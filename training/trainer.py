"""One training run: network, optimizer and EMA weights, with everything needed to go on after an interruption.

The optimizer state lives in `state.pt` of the run's folder and never in a checkpoint; a checkpoint holds EMA
weights alone.

    trainer = Trainer(settings, source)
    loss = trainer.step()
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contract.errors import Refused
from contract.files import write_whole
from contract.schedule import Diffusion
from models.annotator import TrainedAnnotator
from models.checkpoint import Checkpoint, SamplerDefaults
from models.edge import EdgeConfig
from models.loss import denoising_loss
from models.networks import build
from sources.base import LabelledFrames
from training.batches import Batches
from training.perceptual_loss import Critic, Weights


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do; stored beside its state, and the same when it goes on."""

    widths: tuple[int, ...] = (64, 128, 160)
    patch: int = 4
    blocks: int = 2
    normalisation: str = "group"
    activation: str = "relu"
    samples: int = 1_000_000
    """Images seen in all; the learning rate falls to zero over the last `cooldown` share of them."""
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 20_000
    """Images over which the learning rate rises."""
    cooldown: float = 0.3
    dropout: float = 0.1
    """Share of conditions replaced by the null condition, so that guidance has something to steer away from."""
    face_weight: float = 4.0
    """Extra weight of the loss around the landmarks of the face; 0 weighs all pixels alike."""
    eye_weight: float = 4.0
    """The same around the corners of the eyes: gaze and lids are a few pixels that carry half of the labels."""
    label_weight: float = 0.0
    """Weight of the labels that a critic reads from the prediction."""
    detail_weight: float = 0.0
    """Weight of the distance in the critic's features."""
    critic: str | None = None
    """sha256 of the critic's file, where there is one."""
    ema: float = 0.9995
    """Decay of the averaged weights a step, reached gradually."""
    guidance: float = 2.0
    """Guidance scale that samples and the checkpoint use by default."""
    steps: int = 10
    """Number of DDIM steps that samples and the checkpoint use by default."""
    seed: int = 0


class Trainer:
    """Draws batches from a source in memory and improves a network on them."""

    def __init__(
        self, settings: Settings, source: LabelledFrames, device: str = "cpu", critic: TrainedAnnotator | None = None
    ) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.source, self.device = settings, source, torch.device(device)
        self.diffusion = Diffusion(1000, "cosine-zero", "x0")
        image = source.image
        config = {
            name: getattr(settings, name) for name in ("widths", "patch", "blocks", "normalisation", "activation")
        }
        config |= {"size": [image.height, image.width], "channels": image.channels}
        self.config = EdgeConfig.from_dict(EdgeConfig(source.schema.width).to_dict() | config)
        self.network = build(self.config).to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.weights = dict(self.network.named_parameters())
        self.averaged = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), settings.lr, (0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.batches = Batches(source, settings.batch, settings.seed, settings.face_weight, settings.eye_weight, device)
        weights = Weights(settings.label_weight, settings.detail_weight)
        self.critic = Critic(critic, source, weights, device) if critic else None
        self.seen = 0
        self.history: Mapping[str, Any] = {}

    @property
    def total(self) -> int:
        return self.settings.samples

    @property
    def batch(self) -> int:
        return self.settings.batch

    def start_from(self, checkpoint: Checkpoint) -> None:
        """Begin with another checkpoint's EMA weights; Refused where the networks differ."""
        if checkpoint.config != self.config:
            raise Refused(
                f"--init-from: a network {checkpoint.config.to_dict()}; this run trains {self.config.to_dict()}"
            )
        if checkpoint.schema != self.source.schema or checkpoint.diffusion != self.diffusion:
            raise Refused("--init-from: the checkpoint has another schema or diffusion than this run")
        with torch.no_grad():
            for name, weight in checkpoint.weights.items():
                self.weights[name].copy_(weight.float())
                self.averaged[name].copy_(weight.float())
        self.history = {"init_from": checkpoint.sha256, "before": dict(checkpoint.lineage)}

    def learning_rate(self) -> float:
        """Linear warm-up, then constant, then a linear fall to 0 at the end."""
        s = self.settings
        rise = min(1.0, (self.seen + s.batch) / max(1, s.warmup))
        fall = min(1.0, (s.samples - self.seen) / max(1.0, s.cooldown * s.samples))
        return s.lr * rise * max(0.0, fall)

    def step(self) -> float:
        """One batch; returns its loss."""
        s = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        number = self.seen // s.batch
        images, condition, weight_map = self.batches.at(number)
        judge = self.critic.judge(images, self.batches.rows(number)) if self.critic else None
        with torch.autocast(self.device.type, torch.bfloat16):
            loss = denoising_loss(self.network, self.diffusion, images, condition, weight_map, s.dropout, judge)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.seen += s.batch
        steps = self.seen / s.batch
        decay = min(s.ema, (1.0 + steps) / (10.0 + steps))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.values()), list(self.weights.values()), 1.0 - decay)
        return float(loss.detach())

    def checkpoint(self, weights: Mapping[str, Tensor] | None = None) -> Checkpoint:
        """EMA weights as float16 with what sampling and export need to know."""
        s = self.settings
        lineage = {
            "data": self.source.fingerprint,
            "frames": len(self.source.frames),
            "samples": self.seen,
            "steps": self.seen // s.batch,
            "seed": s.seed,
            "settings": asdict(s) | {"widths": list(s.widths)},
            "epsilon": None,
            "delta": None,
            **self.history,
        }
        stored = {name: weight.half() for name, weight in (weights or self.averaged).items()}
        sampler = SamplerDefaults(None, s.steps, s.guidance)
        return Checkpoint(self.config, self.source.schema, self.diffusion, stored, sampler, lineage=lineage)

    def save(self, path: Path) -> None:
        """Everything needed to go on, whole or not at all."""
        content = {
            "settings": asdict(self.settings) | {"widths": list(self.settings.widths)},
            "data": self.source.fingerprint,
            "seen": self.seen,
            "weights": self.weights,
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "history": dict(self.history),
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_whole(path, buffer.getvalue())

    def resume(self, path: Path) -> None:
        """Go on from `save`, perhaps to another number of samples; Refused where other settings or the data differ."""
        content = _read_state(path, self.device)
        asked = asdict(self.settings) | {"widths": list(self.settings.widths)}
        begun = asdict(Settings()) | content["settings"]  # what an older run's state doesn't name was the default
        other = [name for name in asked if name != "samples" and begun[name] != asked[name]]
        if other:
            raise Refused(
                f"{path}: an unfinished run with other {', '.join(other)}; give the same, or another folder with -o"
            )
        if content["data"] != self.source.fingerprint:
            raise Refused(f"{path}: an unfinished run on other data; give the same, or another folder with -o")
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(content["weights"][name])
                self.averaged[name].copy_(content["averaged"][name])
        self.optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["random"].cpu())
        self.seen, self.history = content["seen"], content["history"]


def _read_state(path: Path, device: torch.device) -> dict[str, Any]:
    """What `save` wrote; Refused where the file is damaged."""
    keys = {"settings", "data", "seen", "weights", "averaged", "optimizer", "random", "history"}
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        content = None if damaged else torch.load(path, map_location=device, weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError):
        content = None
    if not isinstance(content, dict) or set(content) != keys:
        raise Refused(f"{path}: damaged, or no state of a run; remove it to begin anew")
    return content
