"""Keeps freed memory for the next batch: a batch allocates the same large arrays again and again.

keep_freed_memory()

By default glibc gives large arrays back to the kernel, which zeroes every page of the next one. On 2 cores (Xeon, AMX)
annotators learn 1.13 times and teachers with a critic 1.12 times as fast without that (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Parameters of mallopt(3)."""

LARGEST_MMAP_THRESHOLD = 32 << 20
"""glibc refuses more on 64-bit machines; larger arrays come from the kernel each time."""

KEPT, GROWN = 2**31 - 1, 256 << 20
"""Bytes that the heap keeps at its end, and by which it grows."""


def keep_freed_memory() -> bool:
    """Let glibc's heap keep what is freed, for the rest of the process; False where the C library is another one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    values = ((MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD), (TRIM_THRESHOLD, KEPT), (TOP_PAD, GROWN))
    return all([mallopt(parameter, value) == 1 for parameter, value in values])
