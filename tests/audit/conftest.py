"""A checkpoint of a few KB that carries an annotator, both with random weights, and frames to audit it with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from contract.conditions import Schema
from contract.noise import open_fields
from contract.schemas import CABIN
from models.checkpoint import write_checkpoint
from sources.base import Landmarks
from sources.shards import ShardDescription, ShardWriter
from tests.tiny_checkpoint import annotated_checkpoint

SIZE = 16


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "tiny.pt"
    write_checkpoint(path, annotated_checkpoint())
    return path


@pytest.fixture(scope="session")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("frames") / "held-out", 16)


def write_shards(
    folder: Path, count: int, seed: int = 0, vectors: np.ndarray | None = None, schema: Schema = CABIN, size: int = SIZE
) -> Path:
    """Frames that brighten with their condition, a pattern of their own on top; `vectors` repeats given conditions."""
    stream = np.random.default_rng(seed)
    if vectors is None:
        vectors = schema.encode([schema.complete({}, open_fields(seed, index)) for index in range(count)])
    shades = 128 + 60 * np.tanh(vectors[:, :3])[:, None, None, :]
    frames = shades + stream.normal(0, 20, (count, size, size, 3))
    arrays = {
        "frames": frames.clip(0, 255).astype(np.uint8),
        "conditions": vectors,
        "points": np.zeros((count, 0, 2), np.float32),
        "hidden": np.zeros((count, len(schema.names)), bool),
        "subjects": np.arange(count) // 2,
    }
    ShardWriter(folder, ShardDescription(schema, Landmarks(), count)).write(0, arrays)
    return folder
