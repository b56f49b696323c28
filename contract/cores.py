"""How many cores this process may use: what it is pinned to, what its container's quota pays for, what it was given.

limit_cores(2)                          # --threads 2
cores()                                 # 2 at most
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


_limits: list[int] = []


def limit_cores(count: int | None) -> None:
    """Keep `cores()` to that many for the rest of this process; None lifts the limit."""
    _limits[:] = [] if count is None else [count]


def cores() -> int:
    """Cores that this process may keep busy, at least 1.

    A quota of 1.5 cores counts as 2: one thread less would leave a third of it unused.
    """
    pinned = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(CGROUPS)
    limits = [*_limits, pinned] if quota is None else [*_limits, pinned, math.ceil(quota)]
    return max(1, min(limits))


def cpu_quota(root: Path, membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores that the control groups of this process allow, the smallest of them; None without a limit.

    Reads `cpu.max` of version 2, `cpu.cfs_quota_us` and `cpu.cfs_period_us` of version 1. In a container the group of
    the process is usually mounted as the root itself.
    """
    found = [limit for folder in _groups(root, membership) if (limit := _limit(folder)) is not None]
    return min(found, default=None)


def _groups(root: Path, membership: Path) -> list[Path]:
    """Folders of the process's control groups and of the groups around them, as far as they are visible here."""
    folders = [root, root / "cpu", root / "cpu,cpuacct"]
    for line in _text(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if ".." in group or controllers not in ("", "cpu", "cpu,cpuacct"):
            continue
        base, path = root / controllers, Path(group.lstrip("/"))
        folders += [base / part for part in (path, *path.parents) if part != Path(".")]
    return folders


def _limit(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota, period = (_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    # "max" and -1 stand for no limit
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
