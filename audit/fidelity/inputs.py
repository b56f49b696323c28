"""Open what the command line names: a folder is a bundle, a file is a checkpoint.

source = open_source(Path("checkpoints/cabin128.pt"))
"""

from __future__ import annotations

from pathlib import Path

from audit.fidelity.runs import Source
from contract.errors import Refused, Unavailable

BATCH = 32
"""Frames that a checkpoint draws at once where nothing else is asked for."""


def open_source(path: Path, seed: int = 0, batch: int | None = None, backend: str = "cpu") -> Source:
    """The bundle or checkpoint at `path`; Refused where it is neither, Unavailable where torch is missing for it."""
    if path.is_dir():
        from audit.fidelity.bundle_source import BundleSource  # each kind needs packages that the other doesn't

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
