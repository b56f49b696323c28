"""What every source of labelled frames delivers, whatever it was read from.

    source = read_shards(Path("build/cabin128"))          # or read_imagefolder
    source.frames, source.conditions, source.schema

Which landmarks there are, and what mirroring a frame does to them, is said by the source: no code names one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contract.conditions import Schema
from contract.frames import Frames, ImageShape

TRIES = 32
"""Conditions that are drawn to see whether a value can be shown at all."""


@dataclass(frozen=True)
class Landmarks:
    """The 2-D points that a source knows of every frame."""

    names: tuple[str, ...] = ()

    mirror: tuple[tuple[str, str], ...] = ()
    """Pairs of names that change places when a frame is mirrored; the others stay what they are."""

    eyes: tuple[str, ...] = ()
    """Those around the eyes, which are a few pixels that carry half of the labels."""


@dataclass(frozen=True)
class LabelledFrames:
    """Every frame of a source in memory."""

    schema: Schema
    frames: Frames
    """uint8 [N, H, W, C]"""

    conditions: npt.NDArray[np.float32]
    """[N, schema.width], encoded"""

    points: npt.NDArray[np.float32] | None
    """[N, L, 2] as shares of width and height from the top left, where the source knows them"""

    hidden: npt.NDArray[np.bool_]
    """[N, fields of the schema]: what the frame doesn't show"""

    subjects: npt.NDArray[np.int64] | None
    """[N]: whose face it is, where the source knows"""

    fingerprint: str
    """sha256 over the frames and conditions, for a checkpoint's lineage."""

    landmarks: Landmarks = Landmarks()
    """What `points` are."""

    unlabelled: npt.NDArray[np.bool_] | None = None
    """[N, fields]: those of `hidden` that nobody has labelled; None where every label is there."""

    driver_names: tuple[str, ...] = ()
    """Of subject 0, 1, ... where a source names its drivers."""

    @property
    def image(self) -> ImageShape:
        """Shape of the frames."""
        _, height, width, channels = self.frames.shape
        return ImageShape(channels, height, width)

    def unseen(self) -> dict[str, tuple[str, ...]]:
        """The classes of each field that no frame shows, though one could; fields that lack none aren't there."""
        found = {}
        for place, field in enumerate(self.schema.fields):
            if field.is_class:
                shown = set(field.nearest(self.conditions[~self.hidden[:, place], field.slots]).tolist())
                lacking = [value for n, value in enumerate(field.values) if n not in shown]
                found[field.name] = tuple(value for value in lacking if _can_be_shown(self.schema, field.name, value))
        return {name: values for name, values in found.items() if values}


def _can_be_shown(schema: Schema, name: str, value: str) -> bool:
    """Whether the prior ever shows that value: by night all frames are near infrared, which hides the light."""
    stream = np.random.default_rng(0)
    return any(name not in schema.hidden(schema.complete({name: value}, stream)) for _ in range(TRIES))


def fingerprint(frames: Frames, conditions: npt.NDArray[np.float32]) -> str:
    """sha256 over the content of frames and conditions."""
    digest = hashlib.sha256(frames.tobytes())
    digest.update(conditions.tobytes())
    return digest.hexdigest()
