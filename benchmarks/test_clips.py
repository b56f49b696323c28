"""Do the frames of clips follow what moves? Trajectory against what the annotator reads.

pytest benchmarks/test_clips.py -m soak
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.conftest import FOLDER
from benchmarks.machine import machine
from contract.bundle import read_manifest
from contract.clip import MOVED
from contract.conditions import Schema
from contract.dataset import ClipShape
from contract.files import write_whole
from contract.plan import Cell, Plan
from runtime import Generator
from runtime.clips import ClipPlan
from runtime.dataset_run import RunSettings, draw, records_of

CLIPS, SHAPE, SEED = 3, ClipShape(frames=200, fps=10.0), 5
MIN_EYE_CORRELATION = 0.9
"""Over all frames of the clips of one class of fatigue whose eyes are visible, of what changes within a clip: that one
driver's rest differs from another's is no movement."""


def correlations(schema: Schema, records: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """By role, of fields that move: frames that show them, correlation within the clips, mean absolute error."""
    pairs: dict[str, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for role in MOVED:
            field = schema.with_role(role)
            if field and record["measured"][field.name] is not None:
                pair = record[field.name], record["measured"][field.name]
                pairs[role][record["clip"]["index"]].append(pair)
    found = {}
    for role, clips in pairs.items():
        arrays = [np.array(clip) for clip in clips.values()]
        if not any(np.ptp(clip[:, 0]) > 0 for clip in arrays):
            continue
        moves, errors = np.concatenate([clip - clip.mean(0) for clip in arrays]), np.diff(np.concatenate(arrays))
        correlation = float(np.corrcoef(moves.T)[0, 1])
        found[role] = {"frames": len(moves), "correlation": correlation, "error": float(np.abs(errors).mean())}
    return found


def follow(bundle: Path) -> dict[str, dict[str, dict[str, float]]]:
    """The correlations of some clips, by the class of fatigue."""
    schema = read_manifest(bundle).schema
    fatigue = schema.with_role("fatigue")
    assert fatigue is not None
    found = {}
    with Generator.open(bundle, backend="cpu") as generator:
        for level in fatigue.values:
            plan = ClipPlan(Plan(schema, [Cell({fatigue.name: level}, each=CLIPS)]), SHAPE)
            run = RunSettings(SEED, clip=SHAPE)
            batches = draw(generator, plan, run, range(plan.count))
            found[level] = correlations(
                schema, (entry for batch in batches for entry in records_of(batch, SEED, clip=SHAPE))
            )
    return found


@pytest.mark.soak
def test_the_annotator_reads_the_trajectory_of_the_eyes(bundle: Path) -> None:
    found = follow(bundle)
    write_whole(FOLDER / "clips.json", json.dumps({"machine": machine(), "clips": found}, indent=1).encode() + b"\n")
    for level, roles in found.items():
        line = ", ".join(f"{role} {each['correlation']:.3f}" for role, each in roles.items())
        print(f"{level}: {line}")
        assert roles["eye_openness"]["frames"] > 0
        assert roles["eye_openness"]["correlation"] >= MIN_EYE_CORRELATION
