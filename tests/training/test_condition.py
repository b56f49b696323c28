"""Training learns the condition: frames show what they are asked for, and only where labels say something."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from contract.noise import initial_noises
from contract.schedule import trailing
from models.diffusion import ddim
from sources.base import LabelledFrames
from tests.seat_source import SEAT, read_back, seat_source
from training.denoiser_objective import DenoiserObjective, DenoiserRecipe
from training.run import Run

RECIPE = DenoiserRecipe(widths=(32,), blocks=1, samples=9_600, batch=32, lr=5e-3, warmup=320, face_weight=0.0)

ASKED = 64
"""Frames drawn, each of a condition that training hasn't seen."""

LEARNED = 0.9, 0.7
"""Correlation of the lamp asked for with the one drawn, and share of right occupants (of 3, drawn alike often)."""

CHANCE = 0.4, 0.55
"""What 64 frames reach without any connection once in a thousand times, of both."""


def shown(source: LabelledFrames) -> tuple[float, float]:
    """Both figures of frames that a network drew which was trained on a source."""
    objective = DenoiserObjective(RECIPE, source)
    run = Run(objective, RECIPE)
    while run.seen < RECIPE.samples:
        run.step()
    checkpoint, asked = objective.checkpoint(run), seat_source(ASKED, seed=7)
    noise = torch.from_numpy(initial_noises(0, range(ASKED), tuple(source.image)))
    condition, timesteps = torch.from_numpy(asked.conditions), trailing(checkpoint.diffusion.timesteps, 4)
    _, frames = ddim(checkpoint.network(), checkpoint.diffusion, noise, condition, timesteps, 1.5)
    lamps, occupants = read_back(frames.numpy())
    conditions = SEAT.decode(asked.conditions)
    right = [found == condition["occupant"] for found, condition in zip(occupants, conditions, strict=True)]
    return float(np.corrcoef(lamps, [float(c["lamp"]) for c in conditions])[0, 1]), float(np.mean(right))


def test_what_can_be_read_from_frames_is_what_they_show() -> None:
    source = seat_source(ASKED, seed=7)
    lamps, occupants = read_back(source.frames)
    conditions = SEAT.decode(source.conditions)
    assert occupants == [condition["occupant"] for condition in conditions]
    assert lamps == pytest.approx([float(condition["lamp"]) for condition in conditions], abs=2.0)


def test_what_is_asked_for_is_drawn() -> None:
    lamp, occupant = shown(seat_source(256))
    assert lamp > LEARNED[0] and occupant > LEARNED[1]


def test_shuffled_labels_teach_nothing() -> None:
    source = seat_source(256)
    order = np.random.default_rng(0).permutation(len(source.frames))
    lamp, occupant = shown(dataclasses.replace(source, conditions=source.conditions[order]))
    assert abs(lamp) < CHANCE[0] and occupant < CHANCE[1]
