"""Miniature faces and networks: small enough to train many of them, large enough to leak.

    people = draw_people(drivers=40, frames=5, seed=0)               # LabelledFrames, 8 x 8 pixels
    checkpoint = fit(untrained(), people.frames, people.conditions, steps=400)       # audit.privacy.fit

A person is a smooth pattern of colours; a frame of it has a mood, a brightness and noise of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from contract.conditions import Schema
from contract.field import Condition, Field
from contract.frames import Frames, ImageShape
from contract.noise import open_fields
from contract.schedule import Diffusion
from models.checkpoint import Checkpoint, SamplerDefaults
from models.edge import EdgeConfig
from models.networks import build
from sources.base import LabelledFrames, fingerprint

SIZE = 8
SCHEMA = Schema(
    "miniature",
    6,
    (
        Field("mood", 0, ("calm", "tired", "lost"), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))),
        Field("group", 3, ("a", "b"), ((1.0, 0.0), (0.0, 1.0)), personal=True),
        Field("brightness", 5),
    ),
)
DIFFUSION = Diffusion(1000, "cosine-zero", "x0")
PATTERN = 4
"""Colours along each edge of a person's pattern."""


def draw_people(drivers: int, frames: int, seed: int, first: int = 0) -> LabelledFrames:
    """`frames` frames of each of `drivers` people; person `first + i` looks alike in every call with that seed."""
    pixels, conditions, subjects = [], [], []
    for driver in range(first, first + drivers):
        generator = np.random.Generator(np.random.Philox(key=[seed, driver]))
        pattern = _pattern(generator)
        group = SCHEMA.field("group").values[int(generator.integers(2))]
        for frame in range(frames):
            condition = SCHEMA.complete({"group": group}, open_fields(seed, driver * 10_000 + frame))
            pixels.append(_draw(pattern, condition, generator))
            conditions.append(condition)
            subjects.append(driver)
    stacked, encoded = np.stack(pixels), SCHEMA.encode(conditions)
    hidden = np.zeros((len(stacked), len(SCHEMA.names)), bool)
    mark = fingerprint(stacked, encoded)
    return LabelledFrames(SCHEMA, stacked, encoded, None, hidden, np.array(subjects), mark)


def _pattern(generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(0.1, 0.9, (PATTERN, PATTERN, 3))


def _draw(pattern: np.ndarray, condition: Condition, generator: np.random.Generator) -> Frames:
    """The pattern, brighter or darker, with a bar where the mood puts it and a mark of the group."""
    image = np.kron(pattern, np.ones((SIZE // PATTERN, SIZE // PATTERN, 1)))
    mood = SCHEMA.field("mood").values.index(str(condition["mood"]))
    image[2 + 2 * mood : 4 + 2 * mood, 2:6] *= 0.4
    if condition["group"] == "b":
        image[:1, :, 0] = 0.9
    image = image * (0.7 + 0.5 * float(condition["brightness"])) + generator.normal(0.0, 0.06, image.shape)
    return np.asarray((image.clip(0.0, 1.0) * 255.0).astype(np.uint8))


class PeopleSimulator:
    """Draws the people of `draw_people` by their number, for private evolution."""

    schema, image, domain, people = SCHEMA, ImageShape(3, SIZE, SIZE), "miniature", range(10_000)

    def draw(self, conditions: Sequence[Condition], people: Sequence[int], moments: Sequence[int]) -> Frames:
        """As `training.simulators.Simulator` has it."""
        frames = []
        for condition, person, moment in zip(conditions, people, moments, strict=True):
            pattern = _pattern(np.random.Generator(np.random.Philox(key=[0, person])))
            frames.append(_draw(pattern, condition, np.random.Generator(np.random.Philox(key=[1, moment]))))
        return np.stack(frames)


def untrained(seed: int = 0, widths: tuple[int, ...] = (64,)) -> Checkpoint:
    """A network with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(EdgeConfig(SCHEMA.width, size=SIZE, patch=2, widths=widths, blocks=1))
    return Checkpoint(network.config, SCHEMA, DIFFUSION, network.state_dict(), SamplerDefaults(None, 8, 1.0))
