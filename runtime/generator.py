"""A bundle, opened: conditions in, frames out.

    with Generator.open("bundle", backend="cpu", precision="fp32") as generator:
        conditions = generator.complete([{"lighting": "night"}] * 4, seed=7)
        frames = generator.generate(conditions, seed=7)                   # uint8 [4, H, W, C]
        for batch in generator.stream([{"lighting": "night"}]): ...       # batches without end

Fields that a condition leaves open are drawn from the schema's prior.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contract.bundle import Manifest, read_manifest
from contract.conditions import LARGEST, Array, Condition, Schema
from contract.errors import UsageError
from runtime.backend import AUTO, Backend, Choice, Request, default_batch, open_backend
from runtime.noise import check_seed, initial_noises, open_fields
from runtime.replay import Reference, keep, read_reference, replay, require_verified, was_verified

Conditions = Sequence[Mapping[str, object]] | npt.NDArray[np.floating]
"""Partial or complete conditions by name, or encoded ones float32 [N, D]."""

MAX_BATCH = 4096


class Batch(NamedTuple):
    """Frames with what each of them shows."""

    start: int
    """Index of the first frame."""

    frames: npt.NDArray[np.uint8]
    """[B, H, W, C]"""

    conditions: list[Condition]
    """Complete, one a frame."""


class Generator:
    """Draws frames; what frame `i` of seed `s` looks like depends on its condition, on s and on i alone."""

    def __init__(self, folder: Path, manifest: Manifest, backend: Backend, choice: Choice, batch: int) -> None:
        self.manifest = manifest
        self.choice = choice
        self.batch = batch
        self._folder = folder
        self._backend = backend
        self._closed = False

    @staticmethod
    def open(
        folder: str | Path,
        backend: str = AUTO,
        precision: str = AUTO,
        batch: int | None = None,
        state: str | Path | None = None,
        file: str | None = None,
    ) -> Generator:
        """Open a bundle.

        backend    `trt`, `cuda`, `cpu`, or `auto`: the first that works here; `choice.reason` says why not the others
        precision  `fp32`, `fp16` ..., or `auto`: the backend's first choice among those that the bundle has
        batch      frames a call of the engine, 1 to 4096; by default the engine's or the backend's own number
        state      folder for `verified.json` and caches, by default the bundle and beside it
        file       this very file of the bundle, in place of a precision

        A file that couldn't be verified where it was made is held against the reference frames before its first use
        on this device. Raises Refused for a bundle that isn't what it should be, Unavailable for a backend or
        precision that isn't there, ParityError for a file that draws other frames than it should.
        """
        request = Request(backend, precision, batch, Path(state) if state else None, file)
        generator = open_generator(Path(folder), request)
        try:
            generator._verify_first(request.state or Path(folder))
        except BaseException:
            generator.close()
            raise
        return generator

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the engine's memory."""
        self._closed = True
        self._backend.close()

    @property
    def schema(self) -> Schema:
        return self.manifest.schema

    @property
    def engine_seconds(self) -> float:
        """Time spent inside the inference engine so far."""
        return self._backend.seconds

    def details(self) -> dict[str, Any]:
        """The device and what else the backend tells of itself."""
        return self._backend.details()

    def complete(self, conditions: Sequence[Mapping[str, object]], seed: int = 0, start: int = 0) -> list[Condition]:
        """The conditions with their open fields drawn from the prior, as `generate` draws them."""
        numbered = enumerate(conditions, start)
        return [self.schema.complete(condition, open_fields(seed, index)) for index, condition in numbered]

    def encode(self, conditions: Conditions, seed: int = 0, start: int = 0) -> Array:
        """Conditions as the engine takes them, float32 [N, D]; encoded ones are only checked."""
        if isinstance(conditions, Mapping):
            raise UsageError("conditions: a single one; expected a list of them")
        if not isinstance(conditions, np.ndarray):
            return self.schema.encode(self.complete(conditions, seed, start))
        if conditions.dtype.kind not in "fiu" or conditions.ndim != 2 or conditions.shape[1] != self.schema.width:
            found = f"{conditions.dtype} {list(conditions.shape)}"
            raise UsageError(f"conditions {found}: expected numbers [N, {self.schema.width}]")
        if not (np.abs(conditions) <= LARGEST).all():  # NaN included
            raise UsageError(f"conditions: expected finite numbers up to {LARGEST:g}")
        return np.ascontiguousarray(conditions, dtype=np.float32)

    def generate(self, conditions: Conditions, seed: int = 0, start: int = 0) -> npt.NDArray[np.uint8]:
        """Frames uint8 [N, H, W, C] of the frame indices `start` to `start + N - 1`.

        Open fields of a condition are drawn from the schema's prior. Raises UsageError for a condition
        that the schema doesn't know, a seed outside 0 to 2^64 - 1, or a batch that memory doesn't hold.
        """
        check_seed(seed)
        return self._generate(self.encode(conditions, seed, start), seed, start, self.batch)

    def stream(
        self, conditions: Iterable[Mapping[str, object]], seed: int = 0, start: int = 0, batch: int | None = None
    ) -> Iterator[Batch]:
        """Batches of frames from index `start` on, each with its complete conditions.

        A sequence of (partial) conditions is gone through again and again, without end; with any other iterable
        the stream ends when that does. Frame by frame the same as `generate` draws. The next batch may be under way
        when one is handed out. Raises what `generate` raises.
        """
        check_seed(seed)
        size = self.batch if batch is None else _checked(batch)
        if isinstance(conditions, Sequence) and not conditions:
            raise UsageError("no conditions: expected at least one to stream")
        source = itertools.cycle(conditions) if isinstance(conditions, Sequence) else iter(conditions)
        return self._stream(source, seed, start, size)

    def replay(self, reference: Reference) -> dict[str, Any]:
        """Draw the reference frames again, at every batch size that the engine is built around."""
        result = replay(
            self._folder,
            self.manifest,
            self.choice.file,
            reference,
            lambda conditions, seed, batch: self._generate(conditions, seed, 0, batch),
            self._backend.sizes or (self.batch,),
        )
        return result | {"precision": self.choice.precision, "device": self._backend.device}

    def _generate(self, vectors: Array, seed: int, start: int, batch: int) -> npt.NDArray[np.uint8]:
        """Frames of encoded conditions, a batch at a time."""
        image = self.manifest.image
        try:
            frames = np.empty((len(vectors), image.height, image.width, image.channels), dtype=np.uint8)
        except MemoryError:
            raise _too_large(len(vectors)) from None
        if self._closed:
            raise UsageError("the generator is closed; open it again")
        pieces = ((start + first, vectors[first : first + batch]) for first in range(0, len(vectors), batch))
        first = 0
        for drawn in self._draw(pieces, seed, batch):
            frames[first : first + len(drawn)] = drawn
            first += len(drawn)
        return frames

    def _stream(self, source: Iterator[Mapping[str, object]], seed: int, index: int, size: int) -> Iterator[Batch]:
        planned: deque[tuple[int, list[Condition]]] = deque()

        def pieces(index: int) -> Iterator[tuple[int, Array]]:
            while wanted := list(itertools.islice(source, size)):
                complete = self.complete(wanted, seed, index)
                planned.append((index, complete))
                yield index, self.schema.encode(complete)
                index += len(complete)

        for frames in self._draw(pieces(index), seed, size):
            first, complete = planned.popleft()
            yield Batch(first, frames, complete)

    def _draw(self, pieces: Iterable[tuple[int, Array]], seed: int, batch: int) -> Iterator[npt.NDArray[np.uint8]]:
        """The frames of each piece, which is the index of its first frame and encoded conditions."""
        shape = tuple(self.manifest.image)
        batches = ((initial_noises(seed, range(first, first + len(rows)), shape), rows) for first, rows in pieces)
        try:
            yield from self._backend.sample_all(batches)
        except MemoryError:
            raise _too_large(batch) from None

    def _verify_first(self, state: Path) -> None:
        """Hold a file that couldn't be run where it was made against the reference, once on each device."""
        file, manifest = self.choice.file, self.manifest
        if manifest.parity.get(file, {}).get("verified") is not False:
            return
        if was_verified(state, manifest, file, self._backend.device):
            return
        result = {"backend": self.choice.backend, **self.replay(read_reference(self._folder, manifest))}
        keep(state, manifest, result)
        require_verified(self._folder, result)


def open_generator(folder: Path, request: Request) -> Generator:
    """Open a bundle without holding anything against its reference."""
    if request.batch is not None:
        _checked(request.batch)
    manifest = read_manifest(folder)
    opened, choice = open_backend(folder, manifest, request)
    own = opened.batch or default_batch(choice.backend, manifest.image.height, manifest.image.width)
    return Generator(folder, manifest, opened, choice, request.batch or own)


def _checked(batch: int) -> int:
    if not 1 <= batch <= MAX_BATCH:
        raise UsageError(f"batch {batch}: expected an integer from 1 to {MAX_BATCH}")
    return batch


def _too_large(batch: int) -> UsageError:
    return UsageError(f"batch {batch}: not enough memory; take fewer frames at once")
