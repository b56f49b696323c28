"""Frames of a run, drawn once and kept on disk in pieces, so that an interrupted audit goes on where it stopped.

frames = cached_samples(folder / run.digest, draw, vectors, title=run.label)
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from audit.fidelity.runs import Draw
from contract.conditions import Array
from contract.files import write_whole
from contract.frames import Frames
from contract.progress import progress_bar

PIECE = 32
"""Frames in one file: some minutes of 1000 steps on a CPU."""


def cached_samples(folder: Path, draw: Draw, vectors: Array, start: int = 0, title: str = "") -> Frames:
    """Frames of the encoded conditions [N, D] with indices from `start` on, drawn where `folder` lacks them.

    A piece counts only for the very conditions that it was drawn for; a damaged one is drawn again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with progress_bar(total=len(vectors), desc=title, unit="frame", leave=False) as bar:
        for first in range(0, len(vectors), PIECE):
            wanted = vectors[first : first + PIECE]
            path = folder / f"{start + first:010d}.npz"
            frames = _read_piece(path, wanted)
            if frames is None:
                frames = draw(wanted, range(start + first, start + first + len(wanted)))
                _write_piece(path, frames, wanted)
            parts.append(frames)
            bar.update(len(frames))
    return np.concatenate(parts)


def _read_piece(path: Path, wanted: Array) -> Frames | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            frames: Frames = arrays["frames"][: len(wanted)]
            same = np.array_equal(arrays["vectors"][: len(wanted)], wanted)
    except (FileNotFoundError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return frames if same else None


def _write_piece(path: Path, frames: Frames, vectors: Array) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, frames=frames, vectors=vectors)
    write_whole(path, buffer.getvalue())
