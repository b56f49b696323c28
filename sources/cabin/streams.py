"""Random streams: one for each topic, so that a choice made in one never moves another.

wardrobe = stream(CLOTHES, seed=1, number=42)
"""

from __future__ import annotations

import numpy as np

from contract import noise

CONDITION, PERSON, HAIR, CLOTHES, CABIN, CAMERA, LIGHT, MOMENT, NOISE, SITTING, PROPS, SKIN = range(1, 13)
"""Topics. A person's own (PERSON, HAIR, SKIN) are keyed by domain and subject, a frame's by run and index."""


def stream(topic: int, seed: int, number: int) -> np.random.Generator:
    """The generator of one topic of subject or frame `number` under the key `seed`."""
    return noise.stream(seed, number, topic)


def between(generator: np.random.Generator, low: float, high: float) -> float:
    """One uniform number; plain float, since the renderer takes no numpy scalars."""
    return float(low + (high - low) * generator.random())


def choose(generator: np.random.Generator, shares: dict[str, float]) -> str:
    """One key of `shares`, by weight; always one draw."""
    total, edge, uniform = sum(shares.values()), 0.0, generator.random()
    for name, share in shares.items():
        edge += share / total
        if uniform < edge:
            return name
    return name
