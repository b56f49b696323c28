"""A bundle, opened: conditions in, frames out.

    with Generator.open("bundle", backend="cpu", precision="fp32") as generator:
        conditions = generator.complete([{"lighting": "night"}] * 4, seed=7)
        frames = generator.generate(conditions, seed=7)                   # uint8 [4, H, W, C]
        for batch in generator.stream([{"lighting": "night"}]): ...       # batches without end

Fields that a condition leaves open are drawn from the schema's prior. Where the bundle has an annotator, a stream
also says what every frame shows, and can redraw frames that don't show their condition.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.annotation import Annotation
from contract.bundle import Manifest, read_manifest
from contract.conditions import Array, Schema
from contract.cores import cores
from contract.engine import MAX_BATCH
from contract.errors import Unavailable, UsageError
from contract.field import Condition
from contract.limits import LARGEST
from contract.noise import check_seed, initial_noises, open_fields
from contract.parity import Reference, read_reference
from runtime.annotator import OFF, TRAIN, Annotator, choose
from runtime.backends.registry import AUTO, BACKENDS, Backend, Choice, Request, default_batch, open_backend
from runtime.batch import Batch, readings_of
from runtime.clip_rejection import ClipRejection, check_clips
from runtime.device_annotation import AnnotatedFrames, Read
from runtime.rejection_sampling import BatchRequest, RejectionSampling, Settled
from runtime.verified_cache import replay, require_verified, save_result, was_verified

Conditions = Sequence[Mapping[str, object]] | npt.NDArray[np.floating]
"""Partial or complete conditions by name, or encoded ones float32 [N, D]."""


class Generator:
    """Draws frames; what frame `i` of seed `s` looks like depends on its condition, on s and on i alone."""

    def __init__(self, folder: Path, manifest: Manifest, backend: Backend, choice: Choice, batch: int) -> None:
        self.manifest = manifest
        self.choice = choice
        self.batch = batch
        self._folder = folder
        self._backend = backend
        self._closed = False
        self.annotator: Annotator | None = None
        self._annotated = AnnotatedFrames(backend)
        self.unannotated = "none was opened"
        """Why there is no annotator, where there is none."""

    @staticmethod
    def open(
        folder: str | Path,
        backend: str = AUTO,
        precision: str = AUTO,
        batch: int | None = None,
        state: str | Path | None = None,
        file: str | None = None,
        annotator: str = AUTO,
        manifest: Manifest | None = None,
    ) -> Generator:
        """Open a bundle.

        backend    `trt`, `cuda`, `openvino`, `cpu`, or `auto`: the first that works here; `choice.reason` says why no
                   other
        precision  `fp32`, `fp16` ..., or `auto`: the backend's first choice among those that the bundle has
        batch      frames a call of the engine, 1 to 4096; by default the engine's or the backend's own number. OpenVINO
                   is compiled for this number: 1 has every core work on single frames
        state      folder for `verified.json` and caches, by default the bundle and beside it
        file       this very file of the bundle, in place of a precision
        annotator  `fp32`, `int8`, `off`, or `auto`: int8 for frames drawn in int8, else fp32, else none
        manifest   the bundle's, where it has been read already

        A file that the exporter didn't run with this very engine is compared with the reference frames before its
        first use on this device. Raises Refused for a bundle that isn't what it should be, Unavailable for a backend
        or precision that isn't there, ParityError for a file that draws other frames than it should.
        """
        request = Request(backend, precision, batch, Path(state) if state else None, file)
        generator = open_generator(Path(folder), request, manifest)
        try:
            generator._verify_first(request.state or Path(folder))
            generator._open_annotator(annotator)
        except BaseException:
            generator.close()
            raise
        return generator

    def __enter__(self) -> Generator:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the engine's memory."""
        self._closed = True
        self._backend.close()
        if self.annotator:
            self.annotator.close()

    @property
    def schema(self) -> Schema:
        return self.manifest.schema

    @property
    def engine_seconds(self) -> float:
        """Time spent inside the inference engine so far."""
        return self._backend.seconds

    @property
    def engine_batches(self) -> tuple[int, ...]:
        """Batch sizes that the engine was built around, smallest and largest included; empty where any will do."""
        return tuple(self._backend.sizes)

    def details(self) -> dict[str, Any]:
        """The device and what else the backend reports of itself."""
        about = self._backend.details()
        return about | ({"annotator": "on the device"} if self._annotated.on_device else {})

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

    def annotate(self, frames: npt.NDArray[np.uint8]) -> Annotation:
        """What frames uint8 [N, H, W, C] show; Unavailable without an annotator."""
        return self.require_annotator().annotate(frames)

    def require_annotator(self) -> Annotator:
        """The annotator; Unavailable, with the command that makes one, where there is none."""
        if self._closed:
            raise _closed()
        if self.annotator is None:
            raise Unavailable(f"{self._folder}: no annotator ({self.unannotated}); {TRAIN}")
        return self.annotator

    def stream(
        self,
        conditions: Iterable[Mapping[str, object]],
        seed: int = 0,
        start: int = 0,
        batch: int | None = None,
        reject_below: float | None = None,
        clip_frames: int = 1,
    ) -> Iterator[Batch]:
        """Batches of frames from index `start` on, each with its complete conditions and what the frames show.

        A sequence of (partial) conditions is repeated without end; with any other iterable the stream ends when that
        does. Frames are those that `generate` draws. The next batch may be under way when one is handed out. Raises
        what `generate` raises.

        With `reject_below`, from 0 to 1, a frame whose `contract.annotation.likelihood` is below it is redrawn from
        fresh noise, up to MAX_ATTEMPTS attempts in all, of which the likeliest is then kept. The frame of index
        i depends on its condition, on seed, i and `reject_below` alone. Unavailable without an annotator.

        Every `clip_frames` frames are one clip and start from the noise of its first index. With `reject_below` clips
        are redrawn whole (`runtime.clip_rejection`), and `start` has to be the first frame of one.
        """
        check_seed(seed)
        size = self.batch if batch is None else _checked(batch)
        if isinstance(conditions, Sequence) and not conditions:
            raise UsageError("no conditions: expected at least one to stream")
        source = itertools.cycle(conditions) if isinstance(conditions, Sequence) else iter(conditions)
        check_clips(clip_frames, start, self.manifest.image, reject_below is not None)
        if reject_below is not None:
            if not 0.0 < reject_below < 1.0:
                raise UsageError(f"reject_below {reject_below:g}: expected a probability between 0 and 1")
            self.require_annotator()
        return self._stream(source, seed, start, size, reject_below, clip_frames)

    def replay(self, reference: Reference) -> dict[str, Any]:
        """Draw the reference frames again, at every batch size that the engine is built around."""
        result = replay(
            self._folder,
            self.manifest,
            self.choice.file,
            reference,
            lambda rows, batch: self._generate(reference.conditions[rows], reference.seed, 0, batch),
            self._backend.sizes or (self.batch,),
        )
        return result | {"precision": self.choice.precision, "device": self._backend.device}

    def _generate(self, vectors: Array, seed: int, start: int, batch: int) -> npt.NDArray[np.uint8]:
        """Frames of encoded conditions, a batch at a time."""
        try:
            image = self.manifest.image
            frames = np.empty((len(vectors), image.height, image.width, image.channels), dtype=np.uint8)
        except MemoryError:
            raise _too_large(len(vectors)) from None
        if self._closed:
            raise _closed()
        cuts = ((first, vectors[first : first + batch]) for first in range(0, len(vectors), batch))
        requests = (BatchRequest(list(range(start + first, start + first + len(rows))), rows) for first, rows in cuts)
        first = 0
        for drawn in self._draw(requests, seed, batch):
            frames[first : first + len(drawn)] = drawn
            first += len(drawn)
        return frames

    def _stream(
        self, source: Iterator[Mapping[str, object]], seed: int, start: int, size: int, below: float | None, clip: int
    ) -> Iterator[Batch]:
        numbered = ((index, self.complete([wanted], seed, index)[0]) for index, wanted in enumerate(source, start))
        draw = partial(self._read, seed=seed, batch=size, clip=clip)
        if clip > 1 and below is not None:
            settled = ClipRejection(self.schema, numbered, size, below, clip).settle(draw)
        else:
            settled = RejectionSampling(self.schema, numbered, size, below).settle(draw)
        return (self._batch(each, below is not None) for each in settled)

    def _batch(self, settled: Settled, rejecting: bool) -> Batch:
        candidates, frames, annotation = settled
        conditions = [candidate.condition for candidate in candidates]
        names = self.annotator.landmarks if self.annotator else []
        readings = [] if annotation is None else readings_of(self.schema, annotation, conditions, names)
        if rejecting:
            for reading, candidate in zip(readings, candidates, strict=True):
                reading |= {"attempt": candidate.attempt, "tries": candidate.tries}
        attempts = [candidate.attempt for candidate in candidates]
        return Batch(candidates[0].index, frames, conditions, annotation, attempts, readings)

    def _draw(self, requests: Iterable[BatchRequest], seed: int, batch: int) -> Iterator[npt.NDArray[np.uint8]]:
        """The frames of each requested batch."""
        try:
            yield from self._backend.sample_all(self._noises(requests, seed))
        except MemoryError:
            raise _too_large(batch) from None

    def _read(self, requests: Iterable[BatchRequest], seed: int, batch: int, clip: int) -> Iterator[Read]:
        """The frames of each requested batch and, where there is an annotator, what they show."""
        try:
            yield from self._annotated.draw_all(self._noises(requests, seed, clip))
        except MemoryError:
            raise _too_large(batch) from None

    def _noises(self, requests: Iterable[BatchRequest], seed: int, clip: int = 1) -> Iterator[tuple[Array, Array]]:
        shape, on_gpu = tuple(self.manifest.x_shape), BACKENDS[self.choice.backend].on_gpu
        for number, request in enumerate(requests):
            if self._closed:
                raise _closed()
            indices = [index - index % clip for index in request.indices]
            # An engine on the CPU has the cores as soon as the first batch is under way.
            threads = cores() if on_gpu or number == 0 else 1
            yield initial_noises(seed, indices, shape, request.attempts, threads), request.rows

    def _open_annotator(self, name: str) -> None:
        """Open the annotator of that precision; with `auto`, `unannotated` says why there is none."""
        precision = choose(self.manifest, name, self.choice.precision)
        if precision is None:
            self.unannotated = "switched off" if name == OFF else "the bundle has none"
            return
        try:
            self.annotator = Annotator.open(self._folder, self.manifest, precision)
            self._annotated = AnnotatedFrames(self._backend, self.annotator)
        except Unavailable as error:
            if name != AUTO:
                raise
            self.unannotated = str(error)

    def _verify_first(self, state: Path) -> None:
        """Compare a file that the exporter didn't run with this engine, on such a device, with the reference: once."""
        file, parity = self.choice.file, self.manifest.parity.get(self.choice.file, {})
        never_run = parity.get("verified") is False
        elsewhere = "device" in parity and parity["device"] != self._backend.device
        if BACKENDS[self.choice.backend].proven and not (never_run or elsewhere):
            return
        if not was_verified(state, self.manifest, file, self._backend.device):
            result = {"backend": self.choice.backend, **self.replay(read_reference(self._folder, self.manifest))}
            # A graph that is good elsewhere may be on a read-only disk: then every start compares it again.
            save_result(state, self.manifest, result, required=never_run)
            require_verified(self._folder, result)


def open_generator(folder: Path, request: Request, manifest: Manifest | None = None) -> Generator:
    """Open a bundle without comparing anything with its reference."""
    if request.batch is not None:
        _checked(request.batch)
    manifest = manifest or read_manifest(folder)
    opened, choice = open_backend(folder, manifest, request)
    own = opened.batch or default_batch(choice.backend, manifest.image.height, manifest.image.width)
    return Generator(folder, manifest, opened, choice, request.batch or own)


def _checked(batch: int) -> int:
    if not 1 <= batch <= MAX_BATCH:
        raise UsageError(f"batch {batch}: expected an integer from 1 to {MAX_BATCH}")
    return batch


def _closed() -> UsageError:
    return UsageError("the generator is closed; open it again")


def _too_large(batch: int) -> UsageError:
    return UsageError(f"batch {batch}: not enough memory; take fewer frames at once")
