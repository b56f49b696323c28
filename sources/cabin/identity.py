"""Who sits there: the shape of a person's head and body, and the choices that stay with them.

    person = Person.draw(domain_seed=1, subject=7, gender="female", age_group="young", skin_tone=0.3)
    vertices = shape(anatomy, person)        # float64 [V, 3], rest pose

Every random number is drawn whatever the gender, age and tone, so that a person drawn older, or with another
skin, is the same person otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sources.cabin.streams import PERSON, between, choose, stream

if TYPE_CHECKING:
    from sources.cabin.anatomy import Anatomy

Floats = npt.NDArray[np.float64]

AGES = {"young": (0.667, 0.70), "middle": (0.79, 0.86), "senior": (0.95, 1.0)}
"""The mesh's age axis: 2/3 is about 25 years, 1 about 90."""

DEVIATION = 0.30
"""Standard deviation of a local change of the face, in targets."""

STILL = (
    "trans",
    "neck-circ",
    "measure",
    "prognathism",
    "head-angle",
    "back-scale",
    "eye-push",
    "ear-shape",
    "head-age",
)
"""Local changes that aren't varied: they move a whole feature off its place, or make a caricature."""

GENTLE = {
    "head-": 0.45,
    "eye-scale": 0.5,
    "eye-height": 0.35,
    "mouth-": 0.7,
    "neck": 0.5,
    "cleft": 0.5,
    "eyefold": 0.5,
    "epicanthus": 0.6,
    "septum": 0.6,
}
"""Factors on DEVIATION, by a part of the name."""

FEMALE = {
    "nose-scale-depth": -0.10, "nose-width": -0.15, "nose-hump": -0.20, "chin-width": -0.30,
    "chin-bones": -0.25, "chin-prominent": -0.15, "chin-height": -0.15, "cheek-bones": 0.15, "cheek-volume": 0.10,
    "mouth-lowerlip-volume": 0.30, "mouth-upperlip-volume": 0.30, "mouth-lowerlip-height": 0.15,
    "mouth-upperlip-height": 0.15, "eye-scale": 0.20, "nose-volume": -0.15, "neck-scale-horiz": -0.20,
    "forehead-nubian": 0.10, "nose-point": 0.10, "ears": -0.1,
}  # fmt: skip
"""What is added to the mean of a woman's local changes."""

MALE = {"chin-width": 0.15, "chin-bones": 0.15, "neck-scale-horiz": 0.15, "eye-scale": 0.10}

OPEN_EYES = {"eye-height1": 0.22, "eye-height2": 0.40, "eye-height3": 0.20}
"""Added to everybody: the base mesh's lids are closer than the 9 to 11 mm of people."""


@dataclass(frozen=True)
class Traits:
    """A point of the mesh's shape space; all values 0 to 1, race as weights."""

    gender: float = 0.5
    age: float = 0.70
    muscle: float = 0.5
    weight: float = 0.5
    height: float = 0.5
    proportions: float = 0.5
    race: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    """african, asian, caucasian"""


AVERAGE = Traits()


@dataclass(frozen=True)
class Person:
    """Everything about a driver that no condition changes, and the three fields that a driver has for good."""

    subject: int
    seed: int
    gender: str
    age_group: str
    skin_tone: float
    traits: Traits
    changes: dict[tuple[str, str], float] = field(repr=False)
    """Local changes by (name, side), -1 to 1"""
    crease: float
    """How marked the fold of the upper lid is, 0 (single lid) to 1"""
    iris: tuple[float, float, float]

    @property
    def is_woman(self) -> bool:
        return self.gender == "female"

    @property
    def years(self) -> float:
        """0 young, 1 senior: how deep wrinkles are and how grey hair may be."""
        return {"young": 0.0, "middle": 0.55, "senior": 1.0}[self.age_group]

    @staticmethod
    def draw(anatomy: Anatomy, seed: int, subject: int, gender: str, age_group: str, skin_tone: float) -> Person:
        """The person `subject` of the population `seed`."""
        own = stream(PERSON, seed, subject)
        woman = gender == "female"
        low, high = AGES[age_group]
        age = between(own, low, high)
        sex = between(own, 0.0, 0.10)
        muscle, weight = between(own, 0.25, 0.85), between(own, 0.2, 0.85)
        # A stream of its own: how many numbers a gamma distribution takes depends on the tone.
        race = _race(stream(PERSON, seed, subject + (1 << 32)), skin_tone)
        traits = Traits(
            gender=1.0 - 0.5 * sex if woman else sex,
            age=age,
            muscle=0.35 + 0.3 * muscle if woman else 0.4 + 0.6 * muscle,
            weight=weight * (0.85 if woman else 1.0),
            height=between(own, 0.3, 0.7),
            proportions=between(own, 0.5, 0.9),
            race=race,
        )
        crease = between(own, 0.0, 1.0)
        crease = 0.45 + 0.55 * crease if race[1] < 0.5 else 0.15 + 0.6 * crease
        iris = _iris(
            choose(own, {"brown": 0.5 + 2.0 * skin_tone, "hazel": 0.2, "blue": 0.3, "green": 0.12, "grey": 0.1}),
            skin_tone,
        )
        return Person(
            subject,
            seed,
            gender,
            age_group,
            skin_tone,
            traits,
            _changes(anatomy, own, woman),
            crease,
            iris,
        )


def _race(own: np.random.Generator, tone: float) -> tuple[float, float, float]:
    """Weights of the three ancestries of the mesh, loosely tied to the skin's tone and always mixed a little."""
    mean = np.array([0.05 + 1.1 * tone**1.5, 0.55 - 0.25 * tone, 0.9 * (1.0 - tone) + 0.05])
    drawn = own.gamma(np.maximum(mean, 0.05) * 2.2) + 0.02
    a, b, c = (drawn / drawn.sum()).tolist()
    return float(a), float(b), float(c)


def _iris(kind: str, tone: float) -> tuple[float, float, float]:
    if tone > 0.55 and kind != "hazel":
        kind = "brown"
    return {
        "brown": (0.085, 0.040, 0.018), "hazel": (0.16, 0.095, 0.035), "blue": (0.13, 0.21, 0.30),
        "green": (0.13, 0.17, 0.09), "grey": (0.19, 0.22, 0.23),
    }[kind]  # fmt: skip


def _changes(anatomy: Anatomy, own: np.random.Generator, woman: bool) -> dict[tuple[str, str], float]:
    """Local changes: one draw a name for both sides, and a small one a side, since no face is symmetric."""
    common: dict[str, float] = {}
    found: dict[tuple[str, str], float] = {}
    lean = FEMALE if woman else MALE
    for name, side, _, _ in anatomy.changes:
        if name not in common:
            common[name] = float(own.standard_normal())
        aside = 0.15 * float(own.standard_normal()) if side else 0.0
        if any(word in name for word in STILL):
            continue
        scale = DEVIATION * math.prod(factor for word, factor in GENTLE.items() if word in name)
        mean = sum(value for word, value in lean.items() if word in name)
        mean += sum(value for word, value in OPEN_EYES.items() if word in name)
        scale *= 0.75 if woman else 1.0
        found[name, side] = float(np.clip(mean + scale * (common[name] + aside), -0.75, 0.9))
    return found


def shape(anatomy: Anatomy, person: Person) -> Floats:
    """The person's vertices at rest: float64 [V, 3], metres."""
    vertices = shape_macro(anatomy, person.traits)
    for name, side, minus, plus in anatomy.changes:
        value = person.changes.get((name, side), 0.0)
        target = plus if value > 0 else minus
        if target and value:
            anatomy.add(vertices, target, abs(value))
    return vertices


def shape_macro(anatomy: Anatomy, traits: Traits) -> Floats:
    """The base mesh with the targets of sex, age, build and ancestry, each weighted by the words of its name."""
    words = _word_weights(traits)
    vertices: Floats = anatomy.vertices.copy()
    for name in anatomy.target_names:
        parts = name.split("-")
        if parts[0] == "universal":
            parts = parts[1:]
        if all(part in words for part in parts):
            weight = math.prod(words[part] for part in parts)
            if weight > 1e-6:
                anatomy.add(vertices, name, weight)
    return vertices


def _word_weights(traits: Traits) -> dict[str, float]:
    old = (traits.age - 2 / 3) * 3.0
    words = {"male": 1.0 - traits.gender, "female": traits.gender, "young": 1.0 - old, "old": old}
    for what, value in (("muscle", traits.muscle), ("weight", traits.weight)):
        words |= {
            f"min{what}": max(0.0, 1.0 - 2.0 * value),
            f"average{what}": 1.0 - abs(2.0 * value - 1.0),
            f"max{what}": max(0.0, 2.0 * value - 1.0),
        }
    words |= {"minheight": 1.0 - traits.height, "maxheight": traits.height}
    words |= {"uncommonproportions": 1.0 - traits.proportions, "idealproportions": traits.proportions}
    return words | dict(zip(("african", "asian", "caucasian"), traits.race, strict=True))
