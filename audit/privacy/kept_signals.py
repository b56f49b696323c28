"""Membership signals that were measured already, in a folder: an interrupted audit goes on with the next model.

signals = kept_signals(Path("build/privacy/signals"), model, evidence)
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from audit.privacy.evidence import Evidence
from audit.privacy.model import Model
from audit.privacy.white_box import Signal, membership_signals
from contract.files import write_whole

FORMAT = "dms-edge/signals@2"
"""Raise the number with every change of a signal: an older one is then measured again."""


def kept_signals(folder: Path | None, model: Model, evidence: Evidence, seed: int = 0) -> dict[str, Signal]:
    """As `membership_signals`, measured where the folder lacks them or holds a damaged file; always without one."""
    if folder is None:
        return membership_signals(model, evidence.frames, evidence.conditions, seed)
    asked = "\n".join((FORMAT, model.identity, evidence.fingerprint, str(seed)))
    path = folder / f"{hashlib.sha256(asked.encode()).hexdigest()[:32]}.npz"
    signals = _read(path)
    if signals is None:
        signals = membership_signals(model, evidence.frames, evidence.conditions, seed)
        folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **signals)  # type: ignore[arg-type]
        write_whole(path, buffer.getvalue())
    return signals


def _read(path: Path) -> dict[str, Signal] | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (FileNotFoundError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
