"""A contender in a process of its own: its start-up time and memory.

python -m benchmarks.startup SETTING.json "ours int8"         # one line of JSON
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

BATCH = 8

STARTED = time.perf_counter()


def resident() -> int:
    """Bytes of physical memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak() -> int:
    """Peak of that in bytes. (The peak of getrusage includes the parent process before exec.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main(argv: Sequence[str] | None = None) -> int:
    source, name = sys.argv[1:] if argv is None else argv
    empty = resident()
    import numpy as np

    from benchmarks.competitors import CONTENDERS
    from benchmarks.fixtures import Setting

    setting = Setting.from_dict(json.loads(Path(source).read_text()))
    contender = CONTENDERS[name]
    opening = time.perf_counter()
    with contender.open(setting, BATCH) as draw:
        opened = time.perf_counter()
        held = resident()
        draw(np.zeros((BATCH, _width(setting)), np.float32), 0)
        drawn = time.perf_counter()
        found: dict[str, Any] = {
            "name": name,
            "import_s": opening - STARTED,
            "load_s": opened - opening,
            "first_batch_s": drawn - opened,
            "opened_mib": (held - empty) / 2**20,
            "peak_mib": peak() / 2**20,
        }
    print(json.dumps(found))
    return 0


def _width(setting: Any) -> int:
    from contract.bundle import read_manifest

    return read_manifest(setting.bundle).schema.width


if __name__ == "__main__":
    raise SystemExit(main())
