"""Cores of a machine that several workers share without any of them knowing of the others.

    held = claim_cores(4)            # this process, and the threads that it starts, run on four cores of their own

A core is claimed by a lock on a file named after it, which the system releases when the process ends, however it ends.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

try:
    import fcntl
except ImportError:  # not a POSIX system: workers share all cores
    fcntl = None  # type: ignore[assignment]


def claim_cores(count: int, folder: Path | None = None) -> list[int]:
    """Keep this process to `count` cores that no other worker has claimed; returns the descriptors of their locks.

    With a count of 0, where fewer are free, or on a system that can't, nothing is claimed: the process runs on all.
    """
    if count < 1 or fcntl is None or not hasattr(os, "sched_setaffinity"):
        return []
    place = folder or Path(tempfile.gettempdir()) / f"dms-edge-cores-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    claimed: dict[int, int] = {}
    for core in sorted(os.sched_getaffinity(0)):
        if len(claimed) == count:
            break
        lock = os.open(place / str(core), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            claimed[core] = lock
        except BlockingIOError:
            os.close(lock)
    if len(claimed) < count:
        for lock in claimed.values():
            os.close(lock)
        return []
    os.sched_setaffinity(0, set(claimed))
    return list(claimed.values())
