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
from contract.schemas import CABIN
from contract.thumbnails import thumbnails
from sources.base import LabelledFrames, fingerprint
from sources.cabin.domains import DOMAINS
from sources.shards import read_shards
from training.accounting import Budget, gaussian_epsilon, gaussian_noise
from training.evolution import Array, EvolutionRecipe, choose_parents, evolve, vary_condition, vote
from training.population import Population, read_population, write_population
from training.private_evolution import main, warn_of_noise, write_evolved
from training.simulators import open_simulator

SCHEMA = Schema("patch", 2, (Field("across", 0), Field("shade", 1)))
IMAGE = ImageShape(3, 16, 16)


class PatchSimulator:
    """A bright patch, somewhere on a background of some shade; a person gives it its colour."""

    schema, image, domain, people = SCHEMA, IMAGE, "patch", range(3)
    drawn = 0

    def draw(self, conditions: Sequence[Condition], people: Sequence[int], moments: Sequence[int]) -> Frames:
        frames = np.empty((len(conditions), 16, 16, 3), np.uint8)
        self.drawn += len(frames)
        for frame, condition, person in zip(frames, conditions, people, strict=True):
            frame[:] = int(150 * float(condition["shade"]))
            left = int(12 * float(condition["across"]))
            frame[:, left : left + 4, person] = 255
        return frames


def private_people(count: int, each: int = 1) -> LabelledFrames:
    """Drivers of all colours who sit at the right of a dark background."""
    generator = np.random.default_rng(0)
    conditions = [
        {"across": float(generator.uniform(0.8, 1.0)), "shade": float(generator.uniform(0.0, 0.2))}
        for _ in range(count * each)
    ]
    people = generator.integers(len(PatchSimulator.people), size=len(conditions)).tolist()
    frames, encoded = PatchSimulator().draw(conditions, people, []), SCHEMA.encode(conditions)
    hidden = np.zeros((len(frames), 2), bool)
    subjects = np.arange(len(frames)) // each
    return LabelledFrames(SCHEMA, frames, encoded, None, hidden, subjects, fingerprint(frames, encoded))


def random() -> np.random.Generator:
    """The same votes and scenes in every run of the tests."""
    return np.random.default_rng(2)


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
    parents = choose_parents(np.array([30.0, -5.0, 10.0, 0.4]), 1.0, 4, np.random.default_rng(0))
    assert [parent for parent, _ in parents] == [0, 0, 0, 2]
    assert [first for _, first in parents] == [True, False, False, True]
    assert len({parent for parent, _ in choose_parents(-np.ones(8), 0.0, 8, np.random.default_rng(0))}) == 8


def test_every_vote_is_noised_as_the_budget_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anew in each round, and votes within the noise count as none."""
    seen = list[Array]()

    def choose(votes: Array, threshold: float, places: int, generator: np.random.Generator) -> list[tuple[int, bool]]:
        assert threshold == pytest.approx(1.5 * noise)
        seen.append(votes)
        return choose_parents(votes, threshold, places, generator)

    monkeypatch.setattr("training.evolution.vote", lambda *_: np.zeros(500))
    monkeypatch.setattr("training.evolution.choose_parents", choose)
    budget, recipe = Budget(1.0, 1e-5, "driver"), EvolutionRecipe(count=500, scenes=500, rounds=4, threshold=1.5)
    noise = gaussian_noise(budget, 4)
    evolved = evolve(private_people(20), PatchSimulator(), budget, recipe, np.random.default_rng(0))
    assert evolved.noise == noise and len(seen) == 4
    assert [votes.std() for votes in seen] == pytest.approx([noise] * 4, rel=0.12)
    assert np.abs(np.corrcoef(seen) - np.eye(4)).max() < 0.2


@pytest.mark.parametrize("unit", ["frame", "driver"])
def test_the_population_moves_toward_private_frames_at_epsilon_1(unit: str) -> None:
    """Three times nearer in the mean than frames from the prior."""
    private, recipe = private_people(3000), EvolutionRecipe(count=60, scenes=60, rounds=4)
    evolved = evolve(private, PatchSimulator(), Budget(1.0, 1e-5, unit), recipe, np.random.default_rng(1))
    prior = evolve(
        private, PatchSimulator(), Budget(1.0, 1e-5, unit), replace(recipe, rounds=1, threshold=1e9), random()
    )
    assert 0.99 < evolved.epsilon <= 1.0
    assert evolved.epsilon == gaussian_epsilon(evolved.noise, 4, 1e-5)
    assert 3 * distance(evolved.frames, private) < distance(prior.frames, private)


def test_few_private_frames_need_few_scenes() -> None:
    """120 votes on 100 scenes drown in noise of 7.5, on 20 they don't; the last round makes 60 frames of either."""
    private, budget = private_people(120), Budget(1.0, 1e-5, "frame")
    mean = {}
    for scenes in (20, 100):
        recipe = EvolutionRecipe(count=60, scenes=scenes, rounds=4)
        runs = [evolve(private, PatchSimulator(), budget, recipe, np.random.default_rng(seed)) for seed in range(10)]
        assert all(len(evolved.frames) == len(evolved.scenes) == 60 for evolved in runs)
        mean[scenes] = np.mean([distance(evolved.frames, private) for evolved in runs])
    assert mean[20] < 0.75 * mean[100]


def test_whoever_has_too_few_private_frames_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    budget, recipe = Budget(1.0, 1e-5, "frame"), EvolutionRecipe(scenes=100)
    warn_of_noise(10_000, budget, recipe)
    assert not capsys.readouterr().err
    warn_of_noise(500, budget, recipe)
    assert "5 votes a scene, and noise of 8.3" in capsys.readouterr().err


def test_a_scene_that_is_kept_is_not_drawn_again() -> None:
    simulator, recipe = PatchSimulator(), EvolutionRecipe(count=40, scenes=40, rounds=3)
    evolved = evolve(private_people(500), simulator, Budget(5.0, 1e-5, "frame"), recipe, random())
    assert 40 < simulator.drawn < 4 * 40
    scenes = evolved.scenes
    again = simulator.draw([scene.condition for scene in scenes], [scene.person for scene in scenes], [])
    assert (again == evolved.frames).all()


def test_an_interrupted_round_is_not_voted_on_twice(tmp_path: Path) -> None:
    private, budget = private_people(500), Budget(5.0, 1e-5, "frame")
    recipe = EvolutionRecipe(count=40, scenes=40, rounds=3)
    path, kept = tmp_path / "state.npz", list[Population]()

    def keep(population: Population) -> None:
        kept.append(population)
        write_population(path, population, {"count": 40})
        if population.rounds == 2 and population.missing:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evolve(private, PatchSimulator(), budget, recipe, random(), keep=keep)
    begun = read_population(path, {"count": 40})
    assert begun is not None and begun.rounds == 2 and begun.scenes == kept[-1].scenes
    assert begun.missing == kept[-1].missing and (begun.frames == kept[-1].frames).all()
    later = list[Population]()
    evolved = evolve(private, PatchSimulator(), budget, recipe, random(), begun, later.append)
    assert [found.rounds for found in later] == [2, 2, 3, 3] and evolved.epsilon == gaussian_epsilon(
        evolved.noise, 3, 1e-5
    )
    assert later[1].scenes == begun.scenes and not later[1].missing
    conditions = [scene.condition for scene in begun.scenes]
    drawn = PatchSimulator().draw(conditions, [scene.person for scene in begun.scenes], [])
    assert (later[1].frames == drawn).all()


def test_the_state_of_another_run_or_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    assert read_population(path, {}) is None
    write_population(path, Population([], np.empty((0, 16, 16, 3), np.uint8), 0), {"count": 40, "epsilon": 1.0})
    with pytest.raises(Refused, match=r"state\.npz: of a run with another count, epsilon"):
        read_population(path, {"count": 41, "epsilon": 2.0})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(Refused, match="damaged; remove it"):
        read_population(path, {"count": 40, "epsilon": 1.0})


def test_the_cabin_is_drawn_by_workers_in_the_order_that_was_asked() -> None:
    pytest.importorskip("scipy")
    pytest.importorskip("mitsuba")
    simulator = open_simulator("cabin", ImageShape(3, 16, 16), workers=2)
    generator = np.random.default_rng(0)
    conditions = [simulator.schema.complete({"lighting": light}, generator) for light in ("day", "night", "day")]
    assert list(simulator.people) == DOMAINS["cabin"].key(np.arange(DOMAINS["cabin"].subjects)).tolist()
    one, other = simulator.people[5], simulator.people[9]
    frames = simulator.draw(conditions, [one, other, one], [1, 2, 3])
    assert frames.shape == (3, 16, 16, 3) and frames.std() > 5
    assert (simulator.draw(conditions[1:2], [other], [2]) == frames[1:2]).all()
    assert not (frames[0] == frames[2]).all()


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


def test_what_follows_another_class_comes_with_it() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        own, other = (CABIN.complete({}, generator) for _ in range(2))
        varied = vary_condition(CABIN, own, other, 0.5, generator)
        assert varied["lighting"] != "night" or varied["sensor"] == "nir"


def test_a_run_that_was_stopped_when_all_was_done_is_not_released_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.private_evolution.open_simulator", lambda *_: PatchSimulator())
    monkeypatch.setattr("training.private_evolution.read_source", lambda *_: private_people(50, 4))
    monkeypatch.setattr(PatchSimulator, "domain", "patch")
    command = ["private", "-o", str(tmp_path / "out"), "--epsilon", "1"]
    command += ["--count", "20", "--scenes", "10", "--rounds", "1"]
    with monkeypatch.context() as stopped:
        stopped.setattr(Path, "unlink", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(command) == 1
    frames = read_shards(tmp_path / "out").frames
    monkeypatch.setattr("training.private_evolution.evolve", lambda *_: pytest.fail("voted again"))
    assert main(command) == 0
    assert "20 frames; epsilon 1 at delta" in capsys.readouterr().out
    assert (read_shards(tmp_path / "out").frames == frames).all()
    assert main(command) == 2, "its state is gone: it is a folder like any other"
