"""Locks on files and folders, also where the file system has none.

with open(path, "wb") as file:
    if not try_lock(file.fileno()): ...               # another process holds it
with lock_folder(folder): ...                         # Refused where another run writes there

The system releases a lock when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from contract.errors import Refused

try:
    import fcntl
except ImportError:  # not a POSIX system: two runs into one folder are then the user's to avoid
    fcntl = None  # type: ignore[assignment]

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What NFS without its lock service and Lustre without `flock` among its mount options answer."""

ADVICE = "the file system has no locks; don't let two runs write here at the same time"


class NoLocks(OSError):
    """The file system, or the whole system, has no locks."""


def try_lock(descriptor: int) -> bool:
    """Lock an open file; False where another process holds it, NoLocks where nobody can hold one."""
    if fcntl is None:
        raise NoLocks(errno.ENOSYS, ADVICE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in UNSUPPORTED:
            raise NoLocks(error.errno, ADVICE) from error
        raise
    return True


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and hold it for one run; Refused where another run holds it.

    Where nobody can hold a lock, two runs into one folder are the user's to avoid.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(NoLocks):
            if not try_lock(descriptor):
                raise Refused(f"{folder}: another run is writing it; wait for it, or name another folder")
        yield
    finally:
        os.close(descriptor)
