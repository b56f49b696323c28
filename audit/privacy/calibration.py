"""Membership signals made comparable between frames: how does the model differ from models that never saw the frame?

calibrated = calibrate(signals, shadow_signals, trained_on)       # [V, N]

Some frames are easy for every model. Shadow models, trained alike on random halves of the drivers, say how easy: the
mean of those that weren't trained on a frame is subtracted, and the difference is divided by their spread. (Offline
LiRA, arXiv 2112.03570, with one spread for all frames.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audit.stats.bootstrap import Array
from contract.errors import Refused
from contract.noise import stream

FEWEST_SHADOWS = 2
"""That weren't trained on a frame, for each frame."""


def half_of_drivers(drivers: npt.NDArray[np.int64], seed: int, number: int) -> npt.NDArray[np.bool_]:
    """Which frames [N] shadow model `number` is trained on: all of a random half of the drivers.

    Even and odd numbers complement each other, so that every frame is left out by half of the models.
    """
    known = np.unique(drivers)
    generator = stream(seed, number // 2, 0)
    chosen = generator.permutation(known)[: len(known) // 2]
    inside = np.isin(drivers, chosen)
    return inside if number % 2 == 0 else ~inside


def calibrate(signals: Array, shadow_signals: Array, trained_on: npt.NDArray[np.bool_]) -> Array:
    """Signals [V, N] against those of S shadow models [S, V, N], of which `trained_on` [S, N] says what they saw."""
    left_out = ~trained_on
    counts = left_out.sum(axis=0)
    if counts.min(initial=FEWEST_SHADOWS) < FEWEST_SHADOWS:
        raise Refused(
            f"a frame that {counts.min()} shadow models left out; expected {FEWEST_SHADOWS}: train more of them with"
            " python -m audit.privacy.shadows"
        )
    weight = left_out[:, None, :]
    mean = (shadow_signals * weight).sum(axis=0) / counts
    variance = ((shadow_signals - mean) ** 2 * weight).sum(axis=(0, 2)) / (counts - 1).sum()
    return np.asarray((signals - mean) / np.sqrt(variance + np.finfo(np.float64).tiny)[:, None])
