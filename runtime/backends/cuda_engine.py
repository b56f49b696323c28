"""What the GPU loop runs: the step graph and the annotator, as engines that work on device addresses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from contract.engine import BatchProfile


class StepEngine(Protocol):
    """The step graph as something that runs on device addresses."""

    profile: BatchProfile

    step_on_host: bool
    """Whether `step` is read by the host while a step is queued, so that its address is the host's."""

    def context(self, rows: int) -> Any:
        """What runs batches of exactly this size."""

    def step(self, context: Any, addresses: Mapping[str, int], stream: int) -> None:
        """Queue one step: x, condition, step in, x_next, frame out."""

    def capturable(self, context: Any, stream: int) -> bool:
        """Whether its steps may be captured in a CUDA graph now."""

    def close(self) -> None:
        """Give back the engine's memory."""


class FrameReader(Protocol):
    """The annotator as something that runs on device addresses."""

    @property
    def outputs(self) -> Mapping[str, tuple[int, ...]]:
        """What it makes of `frames`, float32: sides without the batch axis."""

    def context(self, rows: int) -> Any:
        """What reads batches of exactly this size."""

    def step(self, context: Any, addresses: Mapping[str, int], stream: int) -> None:
        """Queue one reading: frames in, `outputs` out."""

    def close(self) -> None:
        """Give back its memory."""
