"""The loop of every training run: batches with progress, a log, and a save now and then.

learn(trainer, folder / "log.jsonl", every=50_000, save=lambda: trainer.save(folder / "state.pt"))
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from contract.errors import Refused

LOG_EVERY = 50
"""Batches between two lines of the log."""


class Trainable(Protocol):
    """What learns, a batch at a time."""

    seen: int
    """Images so far."""

    @property
    def total(self) -> int:
        """Images in all."""

    @property
    def batch(self) -> int: ...

    def step(self) -> float:
        """One batch; returns its loss."""

    def learning_rate(self) -> float: ...


def learn(
    learner: Trainable, log: Path, every: int, save: Callable[[], None], about: Mapping[str, Any] | None = None
) -> None:
    """Run to the end, saving every `every` images and at the end; each line of the log begins with `about`.

    Refused where the loss isn't finite: nothing of that is saved.
    """
    started, first, losses = time.monotonic(), learner.seen, []
    with (
        log.open("a") as file,
        tqdm(total=learner.total, initial=first, unit="img", unit_scale=True, disable=None) as progress,
    ):
        while learner.seen < learner.total:
            losses.append(learner.step())
            if not math.isfinite(losses[-1]):
                raise Refused(f"loss {losses[-1]} after {learner.seen} images; begin anew with a smaller --lr")
            progress.update(learner.batch)
            ended = learner.seen >= learner.total
            if len(losses) == LOG_EVERY or ended:
                rate = (learner.seen - first) / (time.monotonic() - started)
                mean = float(np.mean(losses))
                line = {**(about or {}), "samples": learner.seen, "loss": round(mean, 5)}
                file.write(json.dumps(line | {"lr": learner.learning_rate(), "rate": round(rate, 1)}) + "\n")
                file.flush()
                progress.set_postfix(loss=f"{mean:.4f}")
                losses.clear()
            if learner.seen // every != (learner.seen - learner.batch) // every or ended:
                save()
