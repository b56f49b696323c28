"""A runtime that is slowed on purpose is reported as a regression."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.competitors import CONTENDERS, Contender, Draw
from benchmarks.fixtures import Setting
from benchmarks.interleaved import measure
from benchmarks.summary import over, regressions, table

NAP = 0.025
"""Seconds of sleep a step: less than a step of 8 frames takes by itself."""

NAME = "fp32_over_diffusers_plain_onnx"


def test_a_sleep_in_every_step_is_a_regression(setting: Setting) -> None:
    honest, plain = CONTENDERS["ours fp32"], CONTENDERS["diffusers plain ONNX"]

    @contextmanager
    def slowed(setting: Setting, batch: int) -> Iterator[Draw]:
        with honest.open(setting, batch) as draw:
            yield lambda vectors, seed: (time.sleep(4 * NAP), draw(vectors, seed))[1]

    found = []
    for contender in (honest, Contender("ours fp32", slowed)):
        rows = table([measure(setting, [contender, plain], batch=8)], {}, steps=4)
        ratio = over(rows, "ours fp32", [plain.name])
        assert ratio is not None
        found.append({NAME: ratio})
    machine = {"cpu": "this one", "cores": 2}
    baseline = machine | {"ratios": {NAME: found[0][NAME]["value"]}}
    assert not regressions(found[0], baseline, machine)
    assert len(regressions(found[1], baseline, machine)) == 1
