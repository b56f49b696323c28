"""What a run of the renderer is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """What a worker needs to draw a frame."""

    domain: str
    size: int
    seed: int
    samples: int | None
    layers: bool
    cache: str | None = None
