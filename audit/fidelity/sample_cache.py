"""Frames of every run that is compared: drawn once, kept in pieces, and drawn for the same conditions and noise.

    source = open_source(Path("checkpoints/cabin64.pt"))           # or a bundle
    for run in source.runs(RunFilter(steps=(50, 10))):
        with source.drawer(run) as draw:
            frames = keep(folder / run.digest, draw, vectors, title=run.label)

A run that was interrupted goes on, and a longer table draws only what it doesn't hold yet.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from contract.annotation import Annotation
from contract.bundle import digest_of
from contract.conditions import Array, Schema
from contract.errors import Refused, Unavailable
from contract.files import write_whole
from contract.frames import ImageShape

Frames = npt.NDArray[np.uint8]
Annotate = Callable[[Frames], Annotation]
"""From frames uint8 [N, H, W, C] to what they show."""

Draw = Callable[[Array, range], Frames]
"""From encoded conditions [B, D] and frame indices to frames uint8 [B, H, W, C]."""

SHARD = 32
"""Frames that are kept together: some minutes of 1000 steps on a CPU."""

BATCH = 32
SAMPLERS = ("ddim", "ddpm")
TORCH = ("fp32", "bf16")
DEFAULT_STEPS = (50, 10, 4)
TRAIN = "train one: python -m training.train_annotator CACHE --held-out CACHE --into CHECKPOINT.pt"


@dataclass(frozen=True)
class RunFilter:
    """Which runs are wanted; None takes what the source itself has."""

    steps: tuple[int, ...] | None = None
    samplers: tuple[str, ...] = ("ddim",)
    precisions: tuple[str, ...] | None = None
    guidance: tuple[float, ...] | None = None
    torch: str = "fp32"
    """In which torch runs the network of a checkpoint; the sampler is in float32 always."""


@dataclass(frozen=True)
class Run:
    """One way of drawing frames; what it draws depends on this, on conditions and on noise alone."""

    model: str
    """Name of the file or bundle that it comes from."""
    content: str
    """sha256 over what decides the frames: the checkpoint, or a bundle's step graph with its sampler and backend."""
    sampler: str
    steps: int
    precision: str
    guidance: float
    seed: int = 0

    @property
    def label(self) -> str:
        """What tells it from the others in a table."""
        return label(self.to_dict())

    @property
    def digest(self) -> str:
        """Names the run's frames on disk; where the file lies or what it is called doesn't matter."""
        return digest_of({key: value for key, value in asdict(self).items() if key != "model"})[:16]

    def to_dict(self) -> dict[str, Any]:
        """What a row of the report says of it."""
        return {key: value for key, value in asdict(self).items() if key not in ("content", "seed")}


def label(run: Mapping[str, Any]) -> str:
    """`cabin64 ddim 10 fp32 g2`, of a row of the report."""
    return f"{run['model']} {run['sampler']} {run['steps']} {run['precision']} g{run['guidance']:g}"


class Source(Protocol):
    """A bundle or checkpoint, opened."""

    path: Path
    name: str
    schema: Schema
    image: ImageShape

    def runs(self, asked: RunFilter) -> list[Run]:
        """Those of the wanted runs that it can draw; UsageError for what it wasn't trained or exported for."""

    def drawer(self, run: Run) -> AbstractContextManager[Draw]:
        """What draws the frames of one of its runs."""

    def annotator(self) -> Annotate | None:
        """The annotator in float32, or None where it carries none."""


def open_source(path: Path, seed: int = 0, batch: int | None = None, backend: str = "cpu") -> Source:
    """A folder as a bundle, a file as a checkpoint; Refused where it is neither."""
    if path.is_dir():
        from audit.fidelity.bundle_source import BundleSource  # neither needs what the other one imports

        return BundleSource(path, seed, batch, backend)
    if not path.is_file():
        raise Refused(f"{path}: no such bundle or checkpoint; export one: python -m export CHECKPOINT.pt -o {path}")
    try:
        from audit.fidelity.checkpoint_source import CheckpointSource
    except ImportError as error:
        raise Unavailable(
            f"{error.name or 'torch'} isn't installed, which checkpoints need; run: pip install '.[train]'"
        ) from error
    return CheckpointSource(path, seed, batch or BATCH, "cpu" if backend in ("cpu", "openvino") else "cuda")


def keep(folder: Path, draw: Draw, vectors: Array, start: int = 0, title: str = "") -> Frames:
    """Frames of the encoded conditions [N, D] with indices from `start` on, drawn where `folder` lacks them.

    A kept shard counts only for the very conditions that it was drawn for; a damaged one is drawn again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with tqdm(total=len(vectors), desc=title, unit="frame", disable=None, leave=False) as progress:
        for first in range(0, len(vectors), SHARD):
            wanted = vectors[first : first + SHARD]
            path = folder / f"{start + first:010d}.npz"
            frames = _kept(path, wanted)
            if frames is None:
                frames = draw(wanted, range(start + first, start + first + len(wanted)))
                write_whole(path, npz(frames=frames, vectors=wanted))
            parts.append(frames)
            progress.update(len(frames))
    return np.concatenate(parts)


def npz(**arrays: npt.NDArray[Any]) -> bytes:
    """The content of a compressed .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def read_npz(path: Path, *names: str) -> list[npt.NDArray[Any]] | None:
    """Those arrays of an .npz file; None where it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except (FileNotFoundError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _kept(path: Path, wanted: Array) -> Frames | None:
    found = read_npz(path, "frames", "vectors")
    if found is None or not np.array_equal(found[1][: len(wanted)], wanted):
        return None
    frames: Frames = found[0][: len(wanted)]
    return frames
