"""Scenes that evolve toward private frames by noisy votes; what it gives away follows from the noise.

    evolved = evolve(private, simulator, Budget(1.0, 1e-5, "driver"), EvolutionRecipe())

In each round every private frame votes for the rendered frame that it resembles most; Gaussian noise is added to the
votes; scenes with votes are kept and varied. Private frames are used for nothing else, so that the result gives away
no more than the votes do. (Private Evolution, arXiv 2305.15560, with a simulator, arXiv 2502.05505.)

Noise is added to every scene's votes, so that few private frames need few scenes; the last round alone varies them into
as many frames as are wanted, which costs no privacy.

A driver's frames share one vote, so that a driver, or a frame, changes the votes by 1 at most. The noise comes from the
operating system and isn't kept: whoever knew its seed could subtract it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.conditions import Schema
from contract.errors import Refused
from contract.field import Condition, Value
from contract.frames import Frames
from contract.progress import progress_bar
from contract.thumbnails import thumbnails
from sources.base import LabelledFrames
from training.accounting import Budget, gaussian_epsilon, gaussian_noise
from training.dp import unit_rows
from training.population import Population, Scene
from training.simulators import Simulator

Array = npt.NDArray[np.float64]
MOMENTS = 1 << 32
BLOCK = 256


@dataclass(frozen=True)
class EvolutionRecipe:
    """How the population evolves."""

    count: int = 1000
    """Frames of the result."""
    scenes: int = 100
    """That are voted on in a round."""
    rounds: int = 5
    first: float = 0.4
    """How far a scene is varied in the first round, as a share of each field's range."""
    last: float = 0.1
    """The same in the last round."""
    threshold: float = 1.0
    """Standard deviations of the noise below which votes count as none."""


@dataclass(frozen=True)
class Evolved:
    """The scenes of the last round, their frames, and what was spent."""

    scenes: list[Scene]
    frames: Frames
    epsilon: float
    noise: float
    """Standard deviation of the noise on every vote."""


def evolve(
    private: LabelledFrames,
    simulator: Simulator,
    budget: Budget,
    recipe: EvolutionRecipe,
    generator: np.random.Generator | None = None,
    begun: Population | None = None,
    keep: Callable[[Population], None] = lambda population: None,
) -> Evolved:
    """Evolve scenes toward private frames of the simulator's shape; a generator makes the noise repeatable, in tests.

    `keep` is given the population after every vote and every rendering; from one of them, as `begun`, the rest goes on.
    Raises Refused where the frames differ in shape, or drivers are the unit and nobody knows them.
    """
    if private.image != simulator.image:
        raise Refused(f"private frames of {private.image}; the simulator draws {simulator.image}")
    noise = gaussian_noise(budget, recipe.rounds)
    stream = generator or np.random.Generator(np.random.Philox(secrets.randbits(128)))
    units, rows = unit_rows(private, budget.unit), thumbnails(private.frames)
    found = begun or draw_population(simulator, recipe.scenes, stream)
    strengths = np.geomspace(recipe.first, recipe.last, recipe.rounds)[found.rounds :].tolist()
    found = render_missing(found, simulator, keep)
    for strength in progress_bar(strengths, desc="rounds", unit="round"):
        votes = vote(rows, units, thumbnails(found.frames)) + noise * stream.standard_normal(recipe.scenes)
        places = recipe.count if found.rounds + 1 == recipe.rounds else recipe.scenes
        parents = choose_parents(votes, recipe.threshold * noise, places, stream)
        scenes = [
            found.scenes[parent] if is_first else vary(found.scenes[parent], simulator, strength, stream)
            for parent, is_first in parents
        ]
        frames = found.frames[[parent for parent, _ in parents]]  # a scene that is kept looks as it did
        varied = tuple(place for place, (_, is_first) in enumerate(parents) if not is_first)
        found = render_missing(Population(scenes, frames, found.rounds + 1, varied), simulator, keep)
    return Evolved(found.scenes, found.frames, gaussian_epsilon(noise, recipe.rounds, budget.delta), noise)


def vote(private: Array, units: Sequence[Any], rendered: Array) -> Array:
    """Votes for each of the rendered rows [M, F]: every unit's frames share one vote, float64 [M]."""
    squares = (rendered**2).sum(axis=1)
    nearest = np.concatenate(
        [
            np.argmin(squares - 2.0 * private[first : first + BLOCK] @ rendered.T, axis=1)
            for first in range(0, len(private), BLOCK)
        ]
    )
    votes = np.zeros(len(rendered))
    for rows in units:
        np.add.at(votes, nearest[rows], 1.0 / len(rows))
    return votes


def choose_parents(
    votes: Array, threshold: float, places: int, generator: np.random.Generator
) -> list[tuple[int, bool]]:
    """A parent for every place in the next round, as often as it has votes, and whether it is there the first time."""
    weights = np.where(votes > threshold, votes, 0.0)
    if not weights.any():
        weights = np.ones(len(votes))
    marks = (np.arange(places) + generator.random()) / places
    chosen = np.searchsorted(np.cumsum(weights) / weights.sum(), marks, "right").clip(max=len(votes) - 1)
    return [(int(parent), place == 0 or parent != chosen[place - 1]) for place, parent in enumerate(chosen)]


def draw_scene(simulator: Simulator, generator: np.random.Generator) -> Scene:
    """A scene from the schema's prior."""
    condition = simulator.schema.complete({}, generator)
    person = int(generator.integers(simulator.people.start, simulator.people.stop))
    return Scene(condition, person, int(generator.integers(MOMENTS)))


def vary(scene: Scene, simulator: Simulator, strength: float, generator: np.random.Generator) -> Scene:
    """A scene nearby: numbers move by `strength` of their range, classes and the moment change with that probability.

    Somebody else sits there: few scenes would leave few people, and nobody needs those who look like private ones.
    """
    other = draw_scene(simulator, generator)
    condition = vary_condition(simulator.schema, scene.condition, other.condition, strength, generator)
    return Scene(condition, other.person, other.moment if generator.random() < strength else scene.moment)


def vary_condition(
    schema: Schema, own: Condition, other: Condition, strength: float, generator: np.random.Generator
) -> Condition:
    """Numbers moved, classes replaced by the other condition's now and then.

    A class whose weights follow another's comes with it: at night there is no visible light.
    """
    replaced = {field.name: generator.random() < strength for field in schema.fields if field.is_class}
    varied: dict[str, Value] = {}
    for field in schema.fields:
        if field.is_class:
            varied[field.name] = (other if replaced[field.given or field.name] else own)[field.name]
        else:
            moved = float(own[field.name]) + strength * (field.high - field.low) * generator.standard_normal()
            varied[field.name] = float(np.clip(moved, field.low, field.high))
    return varied


def draw_population(simulator: Simulator, count: int, generator: np.random.Generator) -> Population:
    """Scenes from the schema's prior, none of them rendered."""
    scenes = [draw_scene(simulator, generator) for _ in range(count)]
    height, width, channels = simulator.image.height, simulator.image.width, simulator.image.channels
    return Population(scenes, np.zeros((count, height, width, channels), np.uint8), 0, tuple(range(count)))


def render_missing(population: Population, simulator: Simulator, keep: Callable[[Population], None]) -> Population:
    """The population with all its frames; `keep` is given it before and after they are rendered."""
    keep(population)
    if not population.missing:
        return population
    missing, frames = list(population.missing), population.frames.copy()
    scenes = [population.scenes[place] for place in missing]
    frames[missing] = simulator.draw(
        [scene.condition for scene in scenes], [scene.person for scene in scenes], [scene.moment for scene in scenes]
    )
    whole = replace(population, frames=frames, missing=())
    keep(whole)
    return whole
