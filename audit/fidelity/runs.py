"""What an audit draws frames with: the runs of a bundle or checkpoint, each one way of sampling.

source = open_source(Path("checkpoints/cabin128-teacher.pt"))   # audit.fidelity.inputs; or a bundle
for run in source.runs(RunFilter(steps=(50, 10))):
    with source.drawer(run) as draw:
        frames = draw(vectors, range(32))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from contract.annotation import Annotation
from contract.bundle import digest_of
from contract.conditions import Array, Schema
from contract.errors import UsageError
from contract.frames import Frames, ImageShape

Annotate = Callable[[Frames], Annotation]
"""From frames uint8 [N, H, W, C] to what they show."""

Draw = Callable[[Array, range], Frames]
"""From encoded conditions [B, D] and frame indices to frames uint8 [B, H, W, C]."""

SAMPLERS = ("ddim", "ddpm")
TORCH_PRECISIONS = ("fp32", "bf16")
DEFAULT_STEPS = (50, 10, 4)
TEACHER = "other samplers, steps and guidance need its teacher"


@dataclass(frozen=True)
class RunFilter:
    """Which runs are wanted; None takes what the source itself has."""

    steps: tuple[int, ...] | None = None
    samplers: tuple[str, ...] = ("ddim",)
    precisions: tuple[str, ...] | None = None
    guidance: tuple[float, ...] | None = None
    torch: str = "fp32"
    """Precision of a checkpoint's network in torch; the sampler always computes in float32."""

    def check_fixed(self, path: Path, sampler: str, steps: int, guidance: float) -> None:
        """UsageError where a bundle or student, which draws in one way alone, is asked for another."""
        if sampler not in self.samplers:
            raise UsageError(f"--sampler: {path} draws with {sampler} alone; {TEACHER}")
        if self.steps is not None and steps not in self.steps:
            raise UsageError(f"--steps: {path} draws in {steps} steps alone; {TEACHER}")
        if self.guidance is not None and guidance not in self.guidance:
            raise UsageError(f"--guidance: {path} has {guidance:g} baked in; {TEACHER}")


@dataclass(frozen=True)
class Run:
    """One way of drawing frames; they depend on this, the conditions and the noise alone."""

    model: str
    """Name of the file or bundle that it comes from."""
    content: str
    """sha256 of what decides the frames: the checkpoint, or a bundle's step graph with its sampler and backend."""
    sampler: str
    steps: int
    precision: str
    guidance: float
    seed: int = 0

    @property
    def label(self) -> str:
        """Its name in tables."""
        return label(self.to_dict())

    @property
    def digest(self) -> str:
        """Names the run's frames on disk, wherever the file lies and whatever it is called."""
        return digest_of({key: value for key, value in asdict(self).items() if key != "model"})[:16]

    def to_dict(self) -> dict[str, Any]:
        """Its columns in a row of the report."""
        return {key: value for key, value in asdict(self).items() if key not in ("content", "seed")}


def label(run: Mapping[str, Any]) -> str:
    """`cabin128 ddim 10 fp32 g2`, from a row of the report."""
    return f"{run['model']} {run['sampler']} {run['steps']} {run['precision']} g{run['guidance']:g}"


class Source(Protocol):
    """A bundle or checkpoint, opened."""

    path: Path
    name: str
    schema: Schema
    image: ImageShape
    lineage: object
    """What it was trained on, as its checkpoint says"""
    fixed: bool
    """Whether it draws in one way alone, as bundles and students do"""

    def runs(self, wanted: RunFilter) -> list[Run]:
        """The wanted runs that it can draw; UsageError for what it wasn't trained or exported for."""

    def drawer(self, run: Run) -> AbstractContextManager[Draw]:
        """Opens what draws the frames of one of its runs."""

    def annotator(self) -> Annotate | None:
        """The annotator in float32, or None where it carries none."""
