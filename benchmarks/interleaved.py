"""One process of a run: all contenders take turns, so that drift affects them alike.

    python -m benchmarks.interleaved SETTING.json OUT.json

The output holds, for each contender and batch, the seconds of every draw after warm-up, and how far its frames are
from the runtime's own in fp32.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.competitors import CONTENDERS, Contender, Draw, difference
from benchmarks.fixtures import BATCHES, Setting
from benchmarks.machine import energy_meter
from contract.bundle import read_manifest
from contract.cores import cores
from contract.errors import Unavailable
from contract.noise import open_fields

ROUNDS = {1: 10, 4: 5, 8: 5, 16: 3, 32: 3}
"""Turns of each contender by batch: short draws need more of them to stand out from other load."""

SECONDS = 0.4
"""Of measured draws for each contender and batch, in all rounds together; at least one draw a round."""

SETTLING = 4
"""Draws at most before a contender is measured, beside the one that opens and compiles."""

MOST = 25
"""Draws a round."""

REST = 0.03
"""Seconds before each turn: the threads of the one before keep spinning for a while."""

REFERENCE = "ours fp32"


def main(argv: Sequence[str] | None = None) -> int:
    source, output = (Path(path) for path in (sys.argv[1:] if argv is None else argv))
    setting = Setting.from_dict(json.loads(source.read_text()))
    torch.set_num_threads(cores())  # what ours takes, also where a container's quota is smaller than its machine
    contenders = list(CONTENDERS.values())
    rows = [row for batch in BATCHES for row in measure(setting, contenders, batch)]
    output.write_text(json.dumps(rows))
    return 0


def measure(
    setting: Setting, contenders: Sequence[Contender], batch: int, seconds: float = SECONDS
) -> list[dict[str, Any]]:
    """A row for each contender that can draw this batch here."""
    schema, rounds = read_manifest(setting.bundle).schema, ROUNDS[batch]
    vectors = schema.encode([schema.complete({}, open_fields(0, index)) for index in range(batch)])
    meter, _ = energy_meter()
    with ExitStack() as stack:
        drawers = _open(stack, setting, contenders, batch)
        expected = drawers[REFERENCE](vectors, 1)
        rows, turns = {}, {}
        for name, draw in drawers.items():
            frames = draw(vectors, 1)
            apart = difference(frames, expected)
            rows[name] = {"name": name, "batch": batch, "seconds": [], "turns": [], "difference": apart, "joules": None}
            turns[name] = min(MOST, max(1, round(seconds / rounds / _settled(draw, vectors))))
        for turn in range(rounds):
            for name, draw in drawers.items():
                time.sleep(REST)
                draw(vectors, 2)
                before = meter() if meter else 0.0
                taken = [_timed(draw, vectors, 10 + turn) for _ in range(turns[name])]
                rows[name]["seconds"] += taken
                rows[name]["turns"].append(statistics.median(taken))
                if meter:
                    rows[name]["joules"] = (rows[name]["joules"] or 0.0) + meter() - before
    return list(rows.values())


def _open(stack: ExitStack, setting: Setting, contenders: Sequence[Contender], batch: int) -> Mapping[str, Draw]:
    opened = {}
    for contender in contenders:
        if batch in contender.batches:
            try:
                opened[contender.name] = stack.enter_context(contender.open(setting, batch))
            except (Unavailable, ImportError):  # a backend or package that isn't there; listed in `not_measured`
                continue
    return opened


def _settled(draw: Draw, vectors: Any) -> float:
    """Warm up until two draws in a row take about as long; their mean."""
    taken = [_timed(draw, vectors, 2) for _ in range(2)]
    while len(taken) < SETTLING and abs(taken[-1] - taken[-2]) > 0.1 * taken[-1]:
        taken.append(_timed(draw, vectors, 2))
    return float(np.mean(taken[-2:]))


def _timed(draw: Draw, vectors: Any, seed: int) -> float:
    started = time.perf_counter()
    draw(vectors, seed)
    return time.perf_counter() - started


if __name__ == "__main__":
    raise SystemExit(main())
