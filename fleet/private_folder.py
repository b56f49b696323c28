"""A folder on this machine for what workers of one user share: which cores are taken, copies of bundles."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from contract.errors import Refused


def private_folder(name: str) -> Path:
    """The folder, made on first use; Refused where another user has made it."""
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"dms-edge-{user}" / name
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, exist_ok=True)
    found = folder.parent.lstat()
    if found.st_uid != user or found.st_mode & 0o077:
        raise Refused(f"{folder.parent}: others may write it; remove it, or set TMPDIR to a folder of your own")
    return folder
