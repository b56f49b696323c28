"""Canaries: frames that nobody else has, of which training got a random half; who finds them bounds epsilon from below.

    bound = epsilon_lower_bound(signals, included, delta=1e-5)
    bound["epsilon"], bound["ceiling"]               # what was shown, and the most that so many canaries can show

One training run is enough (Steinke, Nasr and Jagielski 2023, arXiv 2305.08846): under (epsilon, delta) each guess is
right with probability e^epsilon / (1 + e^epsilon) at most, whatever the other guesses are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from audit.stats.bootstrap import SHARE, Array
from audit.stats.proportions import binomial_pmf, bisect
from audit.stats.roc import Bools
from contract.conditions import Array as Conditions
from contract.conditions import Schema
from contract.errors import Refused
from contract.frames import Frames, ImageShape
from contract.noise import open_fields, stream

SHARES = (1.0, 0.5, 0.25)
"""Of the canaries that are guessed at, the most and the least suspicious ones: each costs a third of the doubt."""

FEWEST = 20
MOST_EPSILON = 50.0
TOPIC = 0x6361
"""Key of the random stream that draws canaries, apart from those of frames."""


def draw_canaries(schema: Schema, image: ImageShape, count: int, seed: int) -> tuple[Frames, Conditions, Bools]:
    """Frames of coarse random colours with random conditions, and which of them training is given.

    Each is with a probability of one half, apart from the others.
    """
    generator = stream(seed, TOPIC, 0)
    channels, height, width = image
    tiles = generator.integers(0, 2, (count, 4, 4, channels), dtype=np.uint8) * np.uint8(255)
    rows, columns = (np.arange(edge) * 4 // edge for edge in (height, width))
    frames = np.ascontiguousarray(tiles[:, rows][:, :, columns])
    conditions = schema.encode([schema.complete({}, open_fields(seed ^ TOPIC, index)) for index in range(count)])
    return frames, conditions, generator.random(count) < 0.5


def epsilon_lower_bound(scores: Array, included: Bools, delta: float) -> dict[str, Any]:
    """A lower bound on epsilon with 95 % confidence from scores [M] (higher: rather included), and its ceiling.

    Raises Refused for fewer than FEWEST canaries, or where all or none were included.
    """
    if len(scores) < FEWEST or included.all() or not included.any():
        raise Refused(
            f"{len(scores)} canaries, {included.sum()} of them included; expected {FEWEST} or more, some left out"
        )
    doubt = (1.0 - SHARE) / len(SHARES)
    order = np.argsort(-scores, kind="stable")
    best = {"epsilon": 0.0, "ceiling": 0.0}
    for share in SHARES:
        half = max(1, round(share * len(scores) / 2))
        right = int(included[order[:half]].sum() + (~included[order[-half:]]).sum())
        bound = _bound(right, 2 * half, len(scores), delta, doubt)
        ceiling = _bound(2 * half, 2 * half, len(scores), delta, doubt)
        if bound >= best["epsilon"]:
            best = {"epsilon": bound, "ceiling": max(ceiling, best["ceiling"]), "guesses": 2 * half, "right": right}
        best["ceiling"] = max(best["ceiling"], ceiling)
    return best | {"canaries": len(scores), "included": int(included.sum()), "delta": delta, "confidence": SHARE}


def _bound(right: int, guesses: int, canaries: int, delta: float, doubt: float) -> float:
    """The largest epsilon under which so many right guesses have a probability below `doubt`."""
    return bisect(lambda epsilon: p_value(right, guesses, canaries, epsilon, delta) - doubt, 0.0, MOST_EPSILON)


def p_value(right: int, guesses: int, canaries: int, epsilon: float, delta: float) -> float:
    """P[at least `right` of the guesses are right] under (epsilon, delta), at most (arXiv 2305.08846, theorem 5.2)."""
    pmf = binomial_pmf(guesses, 1.0 / (1.0 + math.exp(-epsilon)))
    below = np.cumsum(pmf[:right][::-1])  # P[right - i <= W < right] for i = 1 ..
    alpha = float((below / np.arange(1, right + 1)).max(initial=0.0))
    return float(min(1.0, pmf[right:].sum() + 2.0 * canaries * delta * alpha))
