"""Votes, parents, and a population that moves toward what private frames show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract.conditions import Schema
from contract.errors import Refused
from contract.field import Condition, Field
from contract.frames import Frames, ImageShape
from contract.thumbnails import thumbnails
from sources.base import LabelledFrames, fingerprint
from sources.shards import read_shards
from training.accounting import Budget, gaussian_epsilon
from training.private_evolution import EvolutionRecipe, choose_parents, evolve, main, vote, write_evolved

SCHEMA = Schema("patch", 2, (Field("across", 0), Field("shade", 1)))
IMAGE = ImageShape(3, 16, 16)


class PatchSimulator:
    """A bright patch, somewhere on a background of some shade; a person gives it its colour."""

    schema, image, people = SCHEMA, IMAGE, 3

    def draw(self, conditions: Sequence[Condition], people: Sequence[int], moments: Sequence[int]) -> Frames:
        frames = np.empty((len(conditions), 16, 16, 3), np.uint8)
        for frame, condition, person in zip(frames, conditions, people, strict=True):
            frame[:] = int(150 * float(condition["shade"]))
            left = int(12 * float(condition["across"]))
            frame[:, left : left + 4, person] = 255
        return frames


def private_people(count: int, each: int = 1) -> LabelledFrames:
    """Drivers who sit at the right of a dark background, all of one colour."""
    generator = np.random.default_rng(0)
    conditions = [
        {"across": float(generator.uniform(0.8, 1.0)), "shade": float(generator.uniform(0.0, 0.2))}
        for _ in range(count * each)
    ]
    frames, encoded = PatchSimulator().draw(conditions, [1] * len(conditions), []), SCHEMA.encode(conditions)
    hidden = np.zeros((len(frames), 2), bool)
    subjects = np.arange(len(frames)) // each
    return LabelledFrames(SCHEMA, frames, encoded, None, hidden, subjects, fingerprint(frames, encoded))


def distance(frames: Frames, private: LabelledFrames) -> float:
    return float(np.linalg.norm(thumbnails(frames).mean(axis=0) - thumbnails(private.frames).mean(axis=0)))


def test_a_driver_has_one_vote_however_many_frames() -> None:
    rendered = np.array([[0.0], [1.0]])
    private = np.array([[0.1], [0.2], [0.9], [0.05], [0.8]])
    units = [np.array([0, 1, 2, 3]), np.array([4])]
    assert vote(private, units, rendered) == pytest.approx([0.75, 1.25])
    without = vote(private, units[1:], rendered)
    assert np.linalg.norm(vote(private, units, rendered) - without) <= 1.0


def test_parents_follow_their_votes() -> None:
    parents = choose_parents(np.array([30.0, -5.0, 10.0, 0.4]), 1.0, np.random.default_rng(0))
    assert [parent for parent, _ in parents] == [0, 0, 0, 2]
    assert [first for _, first in parents] == [True, False, False, True]
    assert len({parent for parent, _ in choose_parents(-np.ones(8), 0.0, np.random.default_rng(0))}) == 8


@pytest.mark.parametrize("unit", ["frame", "driver"])
def test_the_population_moves_toward_private_frames_at_epsilon_1(unit: str) -> None:
    """Three times nearer in the mean than frames from the prior."""
    private, recipe = private_people(3000), EvolutionRecipe(count=60, rounds=4)
    evolved = evolve(private, PatchSimulator(), Budget(1.0, 1e-5, unit), recipe, np.random.default_rng(1))
    prior = evolve(private, PatchSimulator(), Budget(1.0, 1e-5, unit), replace(recipe, rounds=1, threshold=1e9))
    assert 0.99 < evolved.epsilon <= 1.0
    assert evolved.epsilon == gaussian_epsilon(evolved.noise, 4, 1e-5)
    assert 3 * distance(evolved.frames, private) < distance(prior.frames, private)


def test_frames_of_another_shape() -> None:
    private = private_people(20)
    other = replace(private, frames=private.frames[:, :8])
    with pytest.raises(Refused, match="simulator draws"):
        evolve(other, PatchSimulator(), Budget(1.0, 1e-5, "frame"), EvolutionRecipe(count=10))


def test_the_budget_stands_beside_the_frames(tmp_path: Path) -> None:
    budget = Budget(1.0, 1e-5, "driver")
    evolved = evolve(private_people(50, 4), PatchSimulator(), budget, EvolutionRecipe(count=20, rounds=2))
    write_evolved(tmp_path / "evolved", evolved, PatchSimulator(), budget.to_lineage(evolved.epsilon))
    found = read_shards(tmp_path / "evolved")
    assert (found.frames == evolved.frames).all() and found.schema == SCHEMA
    assert '"unit": "driver"' in (tmp_path / "evolved/shards.json").read_text()


def test_the_command_refuses_a_folder_with_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "note").write_text("mine")
    assert main([str(tmp_path), "-o", str(tmp_path), "--epsilon", "1"]) == 2
    assert main([str(tmp_path), "-o", str(tmp_path / "new"), "--epsilon", "0"]) == 2
    assert capsys.readouterr().err.count("\n") == 2 and not (tmp_path / "new").exists()
