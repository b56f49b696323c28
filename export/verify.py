"""Do a bundle's files draw what torch draws? Full trajectories, from the same noise, through the runtime itself.

    plan = choose_plan("quick", network, sampler)
    reference = draw_reference(checkpoint, network, sampler, plan.conditions, bar.update)
    parity = measure("bundle", "fp32", reference, plan, bar.update)        # ParityError over the tolerance

The one file of this room that looks into the runtime.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from contract.bundle import Sampler
from contract.conditions import Array
from contract.errors import ParityError
from models.checkpoint import Checkpoint
from models.denoiser import Denoiser
from models.diffusion import ddim, predict
from runtime import Generator
from runtime.noise import initial_noise, open_fields

Advance = Callable[[int], object]
"""Told how many more frames are done."""

TOLERANCE = {"fp32": 1}
"""Largest difference of a final frame, of 255: engines add floats in another order, and a pixel that lies
between two values is then rounded to the other."""

METRIC = "max_abs_difference_of_255"
SEED = 0
QUICK_SECONDS = 60.0
TRIALS = 3
STORED = 32
"""Conditions in reference.npz; its frames are of the first of them, of all 32 unless the network is heavy."""


@dataclass(frozen=True)
class Plan:
    """How many of the reference's conditions are run at which batch size: {batch size: conditions}."""

    batches: dict[int, int]

    @property
    def conditions(self) -> int:
        return max(self.batches.values())

    @property
    def drawn(self) -> int:
        """Frames that each file draws."""
        return sum(self.batches.values())


QUICK = Plan({8: 32, 1: 8, 3: 8})
HEAVY = Plan({4: 8, 1: 1, 3: 3})
FULL = Plan({8: 256, 1: 32, 3: 32})


@dataclass(frozen=True)
class Reference:
    """What torch in float32 draws: the truth that every file of the bundle is held against."""

    seed: int
    conditions: Array
    """Encoded, float32 [N, D], frame index i under row i."""

    frames: npt.NDArray[np.uint8]
    """Final frames [M, H, W, C] of the first M conditions."""


def choose_plan(level: str, network: Denoiser, sampler: Sampler) -> Plan:
    """FULL as asked; QUICK where it fits into a minute, measured on one step, and else HEAVY."""
    if level == "full":
        return FULL
    frames = QUICK.conditions + QUICK.drawn  # torch's own, too
    seconds = seconds_per_step(network, sampler.guidance) * sampler.steps * frames
    return QUICK if seconds <= QUICK_SECONDS else HEAVY


def seconds_per_step(network: Denoiser, guidance: float) -> float:
    """Time of one frame's step in torch here: the best of a few, as other programs may take their turns."""
    config = network.config
    x = torch.zeros(1, config.channels, config.size, config.size)
    condition = torch.zeros(1, config.condition_width)
    return min(timeit.repeat(lambda: _step(network, x, condition, guidance), number=1, repeat=TRIALS))


def draw_reference(
    checkpoint: Checkpoint, network: Denoiser, sampler: Sampler, frames: int, advance: Advance
) -> Reference:
    """Conditions from the schema's prior, as the runtime draws open fields, and torch's frames for them."""
    schema, config, count = checkpoint.schema, checkpoint.config, max(STORED, frames)
    conditions = schema.encode([schema.complete({}, open_fields(SEED, index)) for index in range(count)])
    shape = (config.channels, config.size, config.size)
    drawn = []
    for rows in _chunks(frames, 8):
        noise = torch.from_numpy(np.stack([initial_noise(SEED, index, shape) for index in rows]))
        condition = torch.from_numpy(conditions[rows.start : rows.stop])
        steps, guidance, clip = sampler.timesteps, sampler.guidance, sampler.clip
        _, final = ddim(network, checkpoint.diffusion, noise, condition, steps, guidance, clip)
        drawn.append(final.numpy())
        advance(len(rows))
    return Reference(SEED, conditions, np.concatenate(drawn))


def measure(folder: Path, precision: str, reference: Reference, plan: Plan, advance: Advance) -> dict[str, Any]:
    """The parity entry of one step graph for the manifest; ParityError where a frame is off by more than allowed."""
    worst = differing = drawn = 0
    for batch, count in plan.batches.items():
        with Generator.open(folder, backend="cpu", precision=precision, batch=batch) as generator:
            for rows in _chunks(count, batch):
                frames = generator.generate(reference.conditions[rows.start : rows.stop], reference.seed, rows.start)
                difference = np.abs(frames.astype(np.int16) - reference.frames[rows.start : rows.stop])
                worst = max(worst, int(difference.max()))
                differing += int(np.count_nonzero(difference))
                drawn += difference.size
                advance(len(rows))
    if worst > TOLERANCE[precision]:
        raise ParityError(
            f"step graph in {precision}: frames differ from torch by up to {worst} of 255, expected at most"
            f" {TOLERANCE[precision]}; nothing was written"
        )
    return {
        "metric": METRIC,
        "tolerance": TOLERANCE[precision],
        "measured": worst,
        "conditions": plan.conditions,
        "batches": list(plan.batches),
        "differing": differing / drawn,
    }


@torch.no_grad()
def _step(network: Denoiser, x: Tensor, condition: Tensor, guidance: float) -> None:
    predict(network, x, 0, condition, guidance)


def _chunks(count: int, size: int) -> list[range]:
    return [range(first, min(first + size, count)) for first in range(0, count, size)]
