"""The one training loop: optimizer, averaged weights, log, and the state with which an interrupted run goes on.

    run = Run(objective, recipe, {"data": source.fingerprint})
    run.train(folder, save_every=50_000)

An objective is a network and the loss of batch `number`. Denoiser, annotator and student are three of them, and each
batch draws from a random stream of its own: going on gives what an uninterrupted run gives. The state with the
optimizer is `state.pt` in the run's folder, never in a checkpoint.
"""

from __future__ import annotations

import copy
import io
import json
import math
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from contract.errors import EdgeError, Refused
from contract.files import MAYBE_TEMPORARY, write_whole
from contract.locks import lock_folder
from contract.noise import stream
from contract.progress import progress_bar
from models.safe_load import load_archive
from training.allocator import keep_freed_memory

STATE, LOG = "state.pt", "log.jsonl"
FORMAT = "dms-edge/training-state@1"

LONGEST_RISE = 0.05
"""Largest share of a run over which the learning rate rises."""

LOG_EVERY = 50
"""Batches between two lines of the log."""

BATCH_TOPIC = 16
"""Random stream of a batch: timesteps, noise, dropout and augmentation."""

ORDER_TOPIC = 17
"""Random stream of an epoch: which frame comes when."""


class Stopped(EdgeError):
    """Training was asked to stop (SIGTERM, Ctrl-C) and saved its state."""


class Objective(Protocol):
    """What a run minimizes."""

    @property
    def network(self) -> nn.Module: ...

    def loss(self, number: int) -> Tensor:
        """Loss of batch `number`, a scalar; nothing but the weights and the seeded global generator decide it."""


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to learn; a run that goes on has the same one, but for `samples`."""

    samples: int = 1_000_000
    """Images seen in all."""
    batch: int = 64
    lr: float = 1e-3
    """Peak learning rate."""
    warmup: int = 20_000
    """Images over which the learning rate rises; in a short run LONGEST_RISE of it."""
    cooldown: float = 0.3
    """Last share of the run, over which the learning rate falls to 0."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema: float = 0.9995
    """Decay of the averaged weights a step, reached gradually."""
    seed: int = 0

    def learning_rate(self, seen: int) -> float:
        """Learning rate of the batch after `seen` images: a linear rise, then constant, then a linear fall to 0."""
        rise = min(1.0, (seen + self.batch) / max(1.0, min(self.warmup, LONGEST_RISE * self.samples)))
        fall = min(1.0, (self.samples - seen) / max(1.0, self.cooldown * self.samples))
        return self.lr * rise * max(0.0, fall)

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


class Run:
    """An objective's weights, their average, the optimizer, and the images seen so far."""

    def __init__(self, objective: Objective, recipe: Recipe, about: Mapping[str, Any] | None = None) -> None:
        """`about` is what else must be the same when the run goes on (JSON values), by name."""
        self.objective, self.recipe = objective, recipe
        self.about = {"settings": recipe.to_dict(), **(about or {})}
        self.network = objective.network
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.device = trained[0].device
        if self.device.type == "cuda":  # every batch has one shape: its fastest convolutions are worth a search
            torch.backends.cudnn.benchmark = True
        decayed = [weight for weight in trained if weight.ndim > 1]
        free = [weight for weight in trained if weight.ndim <= 1]  # scales and biases, which nothing makes too large
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": free, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, recipe.lr, (0.9, 0.99), fused=True)
        state = self.network.state_dict()
        self.weights = {name: value for name, value in state.items() if value.is_floating_point()}
        self.averaged = {name: value.detach().clone() for name, value in self.weights.items()}
        self.seen = 0

    def step(self) -> Tensor:
        """One batch; returns its loss, which nothing has waited for yet."""
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate(self.seen)
        number = self.seen // recipe.batch
        torch.manual_seed(int(stream(recipe.seed, number, BATCH_TOPIC).integers(2**63)))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=_fast_in_bfloat16(self.device)):
            loss = self.objective.loss(number)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.seen += recipe.batch
        steps = self.seen / recipe.batch
        decay = min(recipe.ema, (1.0 + steps) / (10.0 + steps))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.averaged.values()), list(self.weights.values()), 1.0 - decay)
        return loss.detach()

    def train(
        self,
        folder: Path,
        save_every: int,
        publish: Callable[[], None] = lambda: None,
        label: Mapping[str, Any] | None = None,
    ) -> None:
        """Go on to the end. Every `save_every` images and at the end, `publish` and then save the state.

        Each line of the log begins with `label`. Raises Stopped after SIGTERM or Ctrl-C, with the state saved, and
        Refused where the loss isn't finite, with the last good state kept, or where another run trains in the folder.
        """
        recipe, losses = self.recipe, list[Tensor]()
        if self.device.type == "cpu":
            keep_freed_memory()
        started, first = time.monotonic(), self.seen
        bar = progress_bar(total=recipe.samples, initial=first, unit="img", unit_scale=True)
        with lock_folder(folder), (folder / LOG).open("a") as log, bar, _stop_signals() as received:
            while self.seen < recipe.samples:
                losses.append(self.step())
                bar.update(recipe.batch)
                ended = self.seen >= recipe.samples
                due = ended or self.seen // save_every != (self.seen - recipe.batch) // save_every
                if len(losses) == LOG_EVERY or due or received:
                    line = self._progress(losses, (self.seen - first) / (time.monotonic() - started))
                    log.write(json.dumps({**(label or {}), **line}) + "\n")
                    log.flush()
                    bar.set_postfix(loss=line["loss"], refresh=False)
                    losses.clear()
                if due:
                    publish()
                if due or received:
                    self.save(folder / STATE)
                if received and not ended:
                    name = signal.Signals(received[0]).name
                    raise Stopped(f"{name} after {self.seen} of {recipe.samples} images; the same command goes on")

    def _progress(self, losses: list[Tensor], rate: float) -> dict[str, float]:
        """A line of the log; Refused where a loss isn't finite."""
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise Refused(f"loss {loss} after {self.seen} images; begin anew with a smaller --lr")
        lr = self.recipe.learning_rate(self.seen)
        return {"samples": self.seen, "loss": round(loss, 5), "lr": lr, "rate": round(rate, 1)}

    def averaged_network(self) -> nn.Module:
        """A copy of the network with the averaged weights, in eval mode and without gradients."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.averaged, strict=False)  # integer counters are copied with the network
        return network.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write everything needed to go on, whole or not at all; Refused where a weight isn't finite."""
        if not all(bool(torch.isfinite(value).all()) for value in self.weights.values()):
            raise Refused(f"weights that aren't finite after {self.seen} images; begin anew with a smaller --lr")
        content = {
            "format": FORMAT,
            "about": self.about,
            "seen": self.seen,
            "network": self.network.state_dict(),
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_whole(path, buffer.getvalue())

    def resume(self, path: Path) -> None:
        """Go on from `save`, perhaps to another number of samples.

        Raises Refused where the file is damaged, or where the run had other settings or data.
        """
        content = _read_state(path)
        other = _differences(content["about"], self.about)
        if other:
            raise Refused(f"{path}: an unfinished run with other {', '.join(other)}; give the same, or another -o")
        try:
            self.network.load_state_dict(content["network"])
            for name, value in self.averaged.items():
                value.copy_(content["averaged"][name])
            self.optimizer.load_state_dict(content["optimizer"])
            self.seen = int(content["seen"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise Refused(f"{path}: doesn't fit this network; remove it to begin anew") from error


def _fast_in_bfloat16(device: torch.device) -> bool:
    """Whether convolutions run faster in bfloat16: since Ampere and AVX-512; elsewhere they are far slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def claim_folder(folder: Path, own: str) -> None:
    """Make the folder of a run; Refused where it holds a file whose name the pattern `own` doesn't match."""
    folder.mkdir(parents=True, exist_ok=True)
    pattern = re.compile(f"(?:{own}|{re.escape(STATE)}|{re.escape(LOG)}){MAYBE_TEMPORARY}")
    foreign = [path.name for path in folder.iterdir() if not pattern.fullmatch(path.name)]
    if foreign:
        raise Refused(f"{folder}: holds {foreign[0]!r}, which isn't of such a run; give another folder with -o")


def _read_state(path: Path) -> dict[str, Any]:
    try:
        content, _ = load_archive(path)
    except Refused:
        content = None
    keys = {"format", "about", "seen", "network", "averaged", "optimizer"}
    if not isinstance(content, dict) or set(content) != keys or content["format"] != FORMAT:
        raise Refused(f"{path}: damaged, or no state of a run; remove it to begin anew")
    return content


def _differences(begun: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Names of the settings, and of what else stands in `about`, that aren't the same; `samples` may differ."""
    before, now = ({**about["settings"], **about, "settings": None, "samples": None} for about in (begun, asked))
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """SIGTERM and SIGINT as they arrive, in place of what they do; a second one does that."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody handle signals
        yield received
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def receive(number: int, frame: object) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
