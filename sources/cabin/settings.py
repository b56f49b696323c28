"""What a run of the renderer is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Asked:
    """Conditions that are given, in place of those that a frame's index draws."""

    vectors: npt.NDArray[np.float32]
    """[N, D] in the schema's encoding: frame i has row i modulo N"""
    origin: Mapping[str, Any]
    """Whose conditions they are, as JSON values"""
    people: npt.NDArray[np.int64] | None = None
    """[N]: who is seen; None for everybody in turn"""
    moments: npt.NDArray[np.int64] | None = None
    """[N]: what draws all that a condition leaves open; None for the frame's index"""


@dataclass(frozen=True)
class Settings:
    """What a worker needs to draw a frame."""

    domain: str
    size: int
    seed: int
    samples: int | None
    layers: bool
    cache: str | None = None
    asked: Asked | None = None
