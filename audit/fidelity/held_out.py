"""Rendered frames that no network was trained on: what generated frames are held against.

    held_out = read_held_out(Path("build/fidelity"), schema, size=64, count=2000)
    held_out.frames, held_out.vectors                  # the generated frames are asked for the same conditions

Other people sit there than in the training frames. What is rendered is kept, so that the next audit needs no torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from audit.fidelity.diversity import CONDITIONS, GROUP
from audit.fidelity.sample_cache import SHARD, Frames, keep, npz, read_npz
from contract.conditions import Array, Condition, Schema
from contract.errors import Refused, Unavailable
from contract.files import write_whole
from contract.schemas import CABIN

if TYPE_CHECKING:
    from sources.cartoon.cabin import Cabin

SEED = 1_000_003
"""Of the rendered frames; far from the seeds that training uses."""

AGAIN = 1_000_033
"""Of the same conditions rendered once more: other people, other noise."""

KIN = 1 << 32
"""First index of the frames that share a condition, beyond every other index."""

WORTH_COMPILING = 200
"""Frames from which the cabin's compilation, some 50 s, is less than what it saves on them and their likes."""

INSTALL = "isn't installed, which rendering held-out frames needs; run: pip install '.[train]'"


@dataclass(frozen=True)
class HeldOut:
    """Frames with exact labels."""

    schema: Schema
    frames: Frames
    """[N, H, W, C]"""
    vectors: Array
    """[N, D]: their conditions, encoded"""
    again: Frames | None
    """[N, H, W, C]: other frames of the same conditions, what a perfect model would draw; None where nothing renders
    them"""
    kin: Frames | None
    """[CONDITIONS * GROUP, H, W, C]: of each of the first conditions several frames; None likewise"""

    @cached_property
    def conditions(self) -> list[Condition]:
        return self.schema.decode(self.vectors)

    @property
    def kin_vectors(self) -> Array:
        """The first conditions, each of them GROUP times: [CONDITIONS * GROUP, D]."""
        return kin_vectors(self.vectors)

    @property
    def fingerprint(self) -> str:
        """sha256 over frames and conditions."""
        digest = hashlib.sha256(np.ascontiguousarray(self.frames).tobytes())
        digest.update(np.ascontiguousarray(self.vectors).tobytes())
        return digest.hexdigest()


def kin_vectors(vectors: Array) -> Array:
    return np.repeat(vectors[:CONDITIONS], GROUP, axis=0)


def read_held_out(output: Path, schema: Schema, size: int, count: int, source: Path | None = None) -> HeldOut:
    """`count` held-out frames: of `source` (a cache or imagefolder) or rendered, with others of their conditions.

    Raises Refused where the source has too few frames or others than the network draws, Unavailable where frames
    have to be rendered and torch is absent, or where nothing renders frames of this schema.
    """
    renderer = _Renderer(size, compiled=count >= WORTH_COMPILING)
    frames, vectors = _sourced(source, schema, size, count) if source else _rendered(output, schema, renderer, count)
    if schema != CABIN:
        return HeldOut(schema, frames, vectors, None, None)
    again = keep(output / "again", renderer, vectors, title="rendered again")
    kin = keep(output / "again", renderer, kin_vectors(vectors), KIN, title="one condition")
    return HeldOut(schema, frames, vectors, again, kin)


def _sourced(source: Path, schema: Schema, size: int, count: int) -> tuple[Frames, Array]:
    try:
        from sources.imagefolder import read_source
    except ImportError as error:
        raise Unavailable(f"{error.name or 'torch'} {INSTALL}") from error
    cached = read_source(source, schema.name)
    if cached.schema != schema or cached.frames.shape[1:3] != (size, size):
        height, width = cached.frames.shape[1:3]
        raise Refused(
            f"{source}: frames of {width} x {height} pixels and schema {cached.schema.name!r}; expected {size} x {size}"
            f" and {schema.name!r}: python -m sources.render FOLDER --domain held-out --seed 1 --size {size}"
        )
    if len(cached.frames) < count:
        raise Refused(
            f"{source}: {len(cached.frames)} frames, --frames asks for {count}; render more:"
            f" python -m sources.render {source} -n {count} with the options that it was rendered with"
        )
    return cached.frames[:count], cached.conditions[:count]


def _rendered(output: Path, schema: Schema, renderer: _Renderer, count: int) -> tuple[Frames, Array]:
    """What lies in `held-out.npz`, and rendered beyond that; frame i is the same however many there are."""
    if schema != CABIN:
        raise Unavailable(f"schema {schema.name!r}: nothing renders its frames; give some of your own with --held-out")
    path, size = output / "held-out.npz", renderer.size
    found = read_npz(path, "frames", "vectors")
    if found is None or found[0].shape[1] != size:
        found = [np.empty((0, size, size, 3), np.uint8), np.empty((0, schema.width), np.float32)]
    frames, vectors = found
    if len(frames) < count:
        parts = [(frames, vectors)]
        with tqdm(total=count - len(frames), desc="held-out", unit="frame", disable=None, leave=False) as progress:
            for first in range(len(frames), count, SHARD):
                indices = range(first, min(first + SHARD, count))
                conditions, subjects = renderer.cabin.conditions(SEED, indices)
                parts.append((renderer.draw(conditions, subjects, SEED, indices), schema.encode(conditions)))
                progress.update(len(indices))
        frames, vectors = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        output.mkdir(parents=True, exist_ok=True)
        write_whole(path, npz(frames=frames, vectors=vectors))
    return frames[:count], vectors[:count]


class _Renderer:
    """Renders frames for encoded conditions; the cabin is built when the first frame is wanted."""

    def __init__(self, size: int, compiled: bool) -> None:
        self.size, self._compiled = size, compiled

    @cached_property
    def cabin(self) -> Cabin:
        try:
            from sources.cartoon.cabin import Cabin
            from sources.cartoon.driver import HELD_OUT_DOMAIN
        except ImportError as error:
            raise Unavailable(f"{error.name or 'torch'} {INSTALL}") from error
        return Cabin(self.size, HELD_OUT_DOMAIN, compiled=None if self._compiled else False)

    def __call__(self, vectors: Array, indices: range) -> Frames:
        people = np.random.Generator(np.random.Philox(key=[AGAIN, indices.start]))
        subjects = people.integers(self.cabin.domain.subjects, size=len(indices)).tolist()
        return self.draw(CABIN.decode(vectors), subjects, AGAIN, indices)

    def draw(self, conditions: list[Condition], subjects: list[int], seed: int, indices: range) -> Frames:
        """Frames [N, H, W, 3]; always in whole batches, since the cabin compiles itself anew for another size."""
        from sources.cartoon.cabin import frames_per_batch

        step, parts = min(SHARD, frames_per_batch(self.size)), []
        for first in range(0, len(indices), step):
            rows = [min(row, len(indices) - 1) for row in range(first, first + step)]
            given = ([conditions[row] for row in rows], [subjects[row] for row in rows])
            parts.append(self.cabin.draw(*given, seed, [indices[row] for row in rows]).frames)
        return np.concatenate(parts)[: len(indices)]
