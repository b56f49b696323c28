"""A bundle, opened: conditions in, frames out.

    with Generator.open("bundle", backend="cpu", precision="fp32") as generator:
        conditions = generator.complete([{"lighting": "night"}] * 4, seed=7)
        frames = generator.generate(conditions, seed=7)                   # uint8 [4, H, W, C]

Fields that a condition leaves open are drawn from the schema's prior.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contract.bundle import Manifest, read_manifest
from contract.conditions import Array, Condition, Schema
from contract.errors import UsageError
from runtime.backend import AUTO, Backend, Choice, default_batch, open_backend
from runtime.noise import check_seed, initial_noises, open_fields

Conditions = Sequence[Mapping[str, object]] | npt.NDArray[np.floating]
"""Partial or complete conditions by name, or encoded ones float32 [N, D]."""

MAX_BATCH = 4096


class Generator:
    """Draws frames; what frame `i` of seed `s` looks like depends on its condition, on s and on i alone."""

    def __init__(self, manifest: Manifest, backend: Backend, choice: Choice, batch: int) -> None:
        self.manifest = manifest
        self.choice = choice
        self.batch = batch
        self._backend = backend

    @staticmethod
    def open(folder: str | Path, backend: str = AUTO, precision: str = AUTO, batch: int | None = None) -> Generator:
        """Open a bundle.

        backend    `cpu`, `cuda`, or `auto`: the first that works here; `choice.reason` says why not the others
        precision  `fp32`, `fp16` ..., or `auto`: the backend's first choice among those that the bundle has
        batch      frames a call of the engine, 1 to 4096; by default the backend's own number

        Raises Refused for a bundle that isn't what it should be, Unavailable for a backend or precision
        that isn't there.
        """
        if batch is not None and not 1 <= batch <= MAX_BATCH:
            raise UsageError(f"batch {batch}: expected an integer from 1 to {MAX_BATCH}")
        manifest = read_manifest(folder)
        opened, choice = open_backend(Path(folder), manifest, backend, precision)
        image = manifest.image
        return Generator(manifest, opened, choice, batch or default_batch(choice.backend, image.height, image.width))

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the engine's memory."""
        self._backend.close()

    @property
    def schema(self) -> Schema:
        return self.manifest.schema

    @property
    def engine_seconds(self) -> float:
        """Time spent inside the inference engine so far."""
        return self._backend.seconds

    def complete(self, conditions: Sequence[Mapping[str, object]], seed: int = 0, start: int = 0) -> list[Condition]:
        """The conditions with their open fields drawn from the prior, as `generate` draws them."""
        numbered = enumerate(conditions, start)
        return [self.schema.complete(condition, open_fields(seed, index)) for index, condition in numbered]

    def encode(self, conditions: Conditions, seed: int = 0, start: int = 0) -> Array:
        """Conditions as the engine takes them, float32 [N, D]; encoded ones are only checked."""
        if not isinstance(conditions, np.ndarray):
            return self.schema.encode(self.complete(conditions, seed, start))
        if conditions.ndim != 2 or conditions.shape[1] != self.schema.width or not np.isfinite(conditions).all():
            raise UsageError(
                f"conditions of shape {list(conditions.shape)}: expected finite numbers [N, {self.schema.width}]"
            )
        return np.ascontiguousarray(conditions, dtype=np.float32)

    def generate(self, conditions: Conditions, seed: int = 0, start: int = 0) -> npt.NDArray[np.uint8]:
        """Frames uint8 [N, H, W, C] of the frame indices `start` to `start + N - 1`.

        Open fields of a condition are drawn from the schema's prior. Raises UsageError for a condition
        that the schema doesn't know, a seed outside 0 to 2^64 - 1, or a batch that memory doesn't hold.
        """
        check_seed(seed)
        vectors, image = self.encode(conditions, seed, start), self.manifest.image
        try:
            frames = np.empty((len(vectors), image.height, image.width, image.channels), dtype=np.uint8)
            for first in range(0, len(vectors), self.batch):
                rows = vectors[first : first + self.batch]
                indices = range(start + first, start + first + len(rows))
                x = initial_noises(seed, indices, tuple(image))
                frames[first : first + len(rows)] = self._backend.sample(x, rows)
        except MemoryError:
            raise UsageError(f"batch {self.batch}: not enough memory; take fewer frames at once") from None
        return frames
