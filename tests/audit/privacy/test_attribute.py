"""Attribute inference on a model and frames that give away what they are made to."""

from __future__ import annotations

import numpy as np
import pytest

from audit.privacy.attack import Counts, Finding, Population
from audit.privacy.attribute import attribute_findings, attribute_findings_from_frames
from contract.conditions import Array, Schema
from contract.field import Field
from contract.frames import Frames, Images, ImageShape, to_images

SCHEMA = Schema(
    "stub",
    5,
    (
        Field("group", 0, ("a", "b", "c"), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), personal=True),
        Field("mood", 3),
        Field("age", 4, low=20.0, high=80.0, unit="years", personal=True),
    ),
)
DRIVERS, FRAMES = 16, 20


class RecallingModel:
    """Recovers each frame the better, the nearer the condition is to the one that it keeps of it."""

    schema, image, guidance, checkpoint, identity = SCHEMA, ImageShape(3, 4, 4), 1.0, "", ""
    alpha_bar = np.array([0.1, 0.9])
    timesteps: tuple[int, ...] = (900, 100)

    def __init__(self, images: Images, kept: Array) -> None:
        self.images, self.kept = images, kept

    def predict_x0(self, x: Images, step: int, condition: Array) -> Images:
        error = 0.1 + np.abs(condition - self.kept).mean(axis=1)
        return np.asarray(self.images + error[:, None, None, None], np.float32)


@pytest.fixture(scope="module")
def population() -> Population:
    drivers = np.repeat(np.arange(2 * DRIVERS), FRAMES)
    return Population.split(drivers < DRIVERS, drivers)


@pytest.fixture(scope="module")
def frames(population: Population) -> Frames:
    return np.random.default_rng(0).integers(256, size=(len(population.members), 4, 4, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def conditions(population: Population) -> Array:
    """A number's ends are among them."""
    generator = np.random.default_rng(1)
    found = SCHEMA.encode([SCHEMA.complete({}, generator) for _ in population.members])
    found[::5, 4], found[1::5, 4] = 1.0, -1.0
    return found


def attack(frames: Frames, conditions: Array, kept: Array, population: Population) -> list[Finding]:
    model = RecallingModel(to_images(frames[population.scored]), kept[population.scored])
    return list(attribute_findings(model, SCHEMA, frames, conditions, population))


def test_what_a_model_recalls_of_members_alone_is_all_risk(
    frames: Frames, conditions: Array, population: Population
) -> None:
    """Of strangers it keeps what others are, which is right by chance."""
    kept, strangers = conditions.copy(), np.flatnonzero(~population.members)
    kept[strangers] = conditions[np.random.default_rng(2).permutation(strangers)]
    found = attack(frames, conditions, kept, population)
    assert [each.name for each in found] == ["attribute group", "attribute age"], "a mood is of the moment"
    sides = [int((population.scored & side).sum()) for side in (population.members, ~population.members)]
    for each in found:
        assert [each.main.attempts, each.control.attempts] == sides
        assert each.main.rate == 1.0 and 0.2 < each.control.rate < 0.5 and 0.2 < each.baseline < 0.5
        assert each.risk == pytest.approx(1.0) and each.interval[0] > 0.99 and each.p_value < 0.01


def test_what_a_model_knows_of_strangers_as_well_is_no_risk(
    frames: Frames, conditions: Array, population: Population
) -> None:
    for found in attack(frames, conditions, conditions, population):
        assert found.main.rate == found.control.rate == 1.0
        assert found.risk == found.interval[1] == 0.0 and found.p_value == 1.0


def test_frames_give_away_what_their_nearest_neighbours_show() -> None:
    """Of three times four members and four strangers; whoever isn't scored has a neighbour that is wrong."""
    scored = np.tile([True, True, False, True, True, True, True, False, True, True], 3)
    members = np.tile(np.arange(10) < 5, 3)
    population = Population(members, np.arange(30), np.zeros(30, bool), scored)
    true = encode(3 * "abacaaaabc", 3 * (20, 45, 20, 80, 70, 30, 35, 20, 50, 70))
    nearest = encode(3 * "abbcbbabca", 3 * (39, 50, 80, 61, 41, 25, 70, 80, 25, 50))
    further = encode(30 * "c", 30 * (50,))
    places = np.linspace(0.0, 290.0, 30)[:, None]
    generated = np.concatenate([places + 2.0, places + 1.0])[::-1]
    shown = np.concatenate([further, nearest])[::-1]
    group, age = attribute_findings_from_frames(SCHEMA, places, true, generated, shown, population)
    for found in (group, age):
        assert (found.main, found.control) == (Counts(9, 12), Counts(3, 12))
        assert found.risk == pytest.approx((3 / 4 - 1 / 4) / (1 - 1 / 4))
    assert (group.name, age.name) == ("attribute group from frames", "attribute age from frames")
    assert (group.baseline, age.baseline) == (2 / 4, 1 / 4), "members who are what most strangers are"


def encode(groups: str, ages: tuple[int, ...]) -> Array:
    """A condition for each letter and age."""
    pairs = zip(groups, ages, strict=True)
    return SCHEMA.encode([{"group": group, "mood": 0.5, "age": float(age)} for group, age in pairs])
