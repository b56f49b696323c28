"""What hair a person has: style, length, parting, colour and how grey it is.

wig = Wig.draw(person)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sources.cabin.identity import Person
from sources.cabin.streams import HAIR, between, choose, stream
from sources.cabin.surfaces import Material

Floats = npt.NDArray[np.float64]

COLOURS = {
    "black": (0.013, 0.010, 0.009), "dark": (0.034, 0.020, 0.012), "brown": (0.080, 0.044, 0.023),
    "light": (0.17, 0.100, 0.050), "blond": (0.33, 0.220, 0.110), "red": (0.19, 0.065, 0.022),
    "grey": (0.245, 0.228, 0.202),
    "white": (0.43, 0.41, 0.375),
}  # fmt: skip
NIR = {
    "black": 0.10, "dark": 0.15, "brown": 0.22, "light": 0.32, "blond": 0.42, "red": 0.30, "grey": 0.38, "white": 0.50,
}  # fmt: skip
"""Melanin absorbs little in the near infrared: dark hair is brighter there than it looks."""

MEN = {
    "young": {"crop": 3, "side": 3, "quiff": 2.5, "buzz": 1.5, "curls": 1.5, "medium": 1, "slick": 0.8, "afro": 0.4},
    "middle": {"crop": 3, "side": 3, "quiff": 1, "buzz": 2, "curls": 0.8, "slick": 1.2, "ring": 0.8, "medium": 0.4},
    "senior": {"crop": 2, "side": 3, "buzz": 1.2, "slick": 1.5, "ring": 2.5, "curls": 0.5},
}
WOMEN = {
    "young": {"long": 3.5, "wavy": 3, "fringe": 2, "bob": 2.5, "tail": 1.8, "bun": 0.8, "pixie": 0.6, "big": 1},
    "middle": {"long": 2.2, "wavy": 3, "fringe": 1.5, "bob": 3, "tail": 1.5, "bun": 0.9, "pixie": 1.2, "big": 0.8},
    "senior": {"wavy": 1.5, "bob": 3, "fringe": 1, "bun": 1.5, "pixie": 2.5, "big": 1.2, "tail": 0.5},
}


@dataclass(frozen=True)
class Wig:
    """A person's hair, whatever is worn over it."""

    style: str
    length: float
    parting: float
    """Where hair parts, metres to the subject's left"""
    volume: float
    curl: float
    recede: float
    colour: str
    grey: float
    """Share of grey strands"""
    seed: tuple[int, int]

    @staticmethod
    def draw(person: Person) -> Wig:
        own = stream(HAIR, person.seed, person.subject)
        age = person.age_group
        men, women = choose(own, MEN[age]), choose(own, WOMEN[age])
        style = women if person.is_woman else men
        tight = own.random() < max(0.0, person.traits.race[0] - 0.35) * 1.3
        if tight:
            style = {"crop": "buzz", "side": "afro", "quiff": "afro", "slick": "buzz", "medium": "afro",
                "curls": "afro",
                     "long": "big", "wavy": "big", "fringe": "big", "bob": "big", "pixie": "afro"}.get(style,
                     style)  # fmt: skip
        fair = (1.0 - person.skin_tone) * max(0.0, person.traits.race[2] - 0.25)
        shares = {
            "black": 0.35 + 1.5 * person.skin_tone + 0.8 * person.traits.race[1],
            "dark": 0.55,
            "brown": 0.15 + 0.9 * fair,
        }
        colour = choose(own, {**shares, "light": 0.9 * fair, "blond": 0.9 * fair, "red": 0.25 * fair})
        greying = between(own, 0.0, 1.0)
        grey = {"young": 0.0, "middle": 0.20 + 0.35 * greying, "senior": 0.70 + 0.30 * greying}[age]
        baldness = between(own, 0.0, 1.0)
        recede = 0.0 if person.is_woman else {"young": 0.25, "middle": 0.8, "senior": 1.2}[age] * baldness
        side, parting = (-1.0 if own.random() < 0.5 else 1.0), between(own, 0.0, 1.0)
        centred = style in ("long", "wavy", "big") and parting < 0.4
        return Wig(
            style, between(own, 0.0, 1.0), 0.0 if centred else side * (0.018 + 0.016 * parting),
            between(own, 0.6, 1.25),
            between(own, 0.0, 1.0), recede, colour, grey, (person.seed, person.subject),
        )  # fmt: skip

    def materials(self) -> tuple[Material, Material]:
        """(most strands, the rest): hair of one colour looks like a helmet."""
        base = np.array(COLOURS[self.colour])
        grey = np.array(COLOURS["white" if self.grey > 0.8 else "grey"])
        grey_nir = NIR["white" if self.grey > 0.8 else "grey"]
        mixed = base * (1 - self.grey) + grey * self.grey
        nir = NIR[self.colour] * (1 - self.grey) + grey_nir * self.grey
        other = grey if 0.1 < self.grey < 0.8 else np.minimum(mixed * 1.7, 0.75)
        other_nir = grey_nir if 0.1 < self.grey < 0.8 else min(nir * 1.25, 0.65)
        return _strand(mixed, nir), _strand(other, other_nir)

    @property
    def paint(self) -> tuple[Floats, float]:
        """Albedo (visible, near infrared) of what shows between the strands."""
        first, _ = self.materials()
        return np.asarray(first.rgb) * 0.8, float(np.asarray(first.nir)) * 0.8

    @property
    def scalp_shows(self) -> bool:
        return self.style == "ring"


def _strand(rgb: Floats, nir: float) -> Material:
    r, g, b = rgb.tolist()
    return Material((r, g, b), nir, roughness=0.36, specular=0.5)
