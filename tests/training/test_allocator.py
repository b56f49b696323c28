"""Freed arrays are handed out again instead of going back to the kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import resource
import numpy as np
from training.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        np.full(3 << 20, 1.0)  # 24 MB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given = faults()
kept = keep_freed_memory()
faults()  # grows the heap
print(kept, given, faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is what is changed")
def test_arrays_of_one_size_cost_no_page_faults_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    kept, given, later = done.stdout.split()
    if kept == "False":
        pytest.skip("another C library than glibc")
    assert int(later) < 0.1 * int(given)
