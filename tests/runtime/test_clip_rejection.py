"""`--reject-below` with clips: the same whole clips whatever the batch, judged by their mean, from the noise named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.annotation import likelihood
from contract.dataset import ClipShape
from contract.errors import UsageError
from contract.field import Condition
from contract.frames import ImageShape
from contract.plan import Cell, Plan
from contract.schemas import CABIN
from runtime import Generator
from runtime.clip_rejection import MAX_BYTES, check_clips
from runtime.clips import ClipPlan
from runtime.dataset_run import RunSettings, draw
from runtime.rejection_sampling import MAX_ATTEMPTS
from tests.fake_bundle import expected_frames
from tests.runtime.levels import ONE_LEVEL, difference

SEED, CLIPS, FRAMES = 5, 6, 5
SHAPE = ClipShape(FRAMES, 5.0)
COUNT = CLIPS * FRAMES
BELOW = 0.75
"""Between what some clips reach at once and what others need several attempts for."""


Expected = tuple[np.ndarray, list[Condition], list[tuple[int, int]]]


def plan() -> ClipPlan:
    return ClipPlan(Plan(CABIN, [Cell({}, (), CLIPS)]), SHAPE)


def drawn(bundle: Path, batch: int, indices: range = range(COUNT)) -> tuple[np.ndarray, list[Any], list[Any]]:
    with Generator.open(bundle, "cpu", batch=batch) as generator:
        batches = list(draw(generator, plan(), RunSettings(SEED, BELOW, clip=SHAPE), indices))
    readings = [dict(each.reading(row)) for each in batches for row in range(len(each.frames))]
    assert [index for each in batches for index in range(each.start, each.start + len(each.frames))] == list(indices)
    return np.concatenate([each.frames for each in batches]), [c for each in batches for c in each.conditions], readings


@pytest.fixture(scope="module")
def expected(read_bundle: Path) -> Expected:
    """Attempt by attempt, one clip after the other, from the noise that the contract names."""
    frames, fates, kept = [], [], []
    conditions = list(plan().conditions(SEED))
    with Generator.open(read_bundle, "cpu") as generator:
        for first in range(0, COUNT, FRAMES):
            found, clip = [], conditions[first : first + FRAMES]
            for attempt in range(MAX_ATTEMPTS):
                pixels = np.concatenate(
                    [expected_frames(CABIN.encode([c]), SEED, start=first, attempts=[attempt]) for c in clip]
                )
                shown = generator.annotate(pixels)
                mean = float(np.mean([likelihood(CABIN, shown, row, c) for row, c in enumerate(clip)]))
                found.append((mean, -attempt, pixels))
                if mean >= BELOW:
                    break
            best = max(found, key=lambda entry: entry[:2])
            frames.append(best[2])
            kept.append(best[0])
            fates += [(-best[1], len(found))] * FRAMES
    assert max(tries for _, tries in fates) > 1 and min(tries for _, tries in fates) == 1
    return np.concatenate(frames), conditions, fates


@pytest.mark.parametrize("batch", [1, 3, 5, 64])
def test_a_clip_is_redrawn_whole_whatever_the_batch(read_bundle: Path, batch: int, expected: Expected) -> None:
    frames, conditions, readings = drawn(read_bundle, batch)
    assert conditions == expected[1]
    assert [(reading["attempt"], reading["tries"]) for reading in readings] == expected[2]
    assert difference(frames, expected[0]) <= ONE_LEVEL


@pytest.mark.parametrize("indices", [range(7, 19), range(2, 3), range(10, COUNT)])
def test_any_part_is_that_of_the_whole(read_bundle: Path, indices: range, expected: Expected) -> None:
    frames, conditions, readings = drawn(read_bundle, 4, indices)
    assert conditions == expected[1][indices.start : indices.stop]
    assert [(r["attempt"], r["tries"]) for r in readings] == expected[2][indices.start : indices.stop]
    assert difference(frames, expected[0][indices.start : indices.stop]) <= ONE_LEVEL


def test_clips_that_memory_may_not_hold_are_refused() -> None:
    frames, image = MAX_BYTES // (3 * 64 * 64), ImageShape(3, 64, 64)
    check_clips(frames, 0, image, True)
    check_clips(frames + 1, 7, image, False)
    with pytest.raises(UsageError, match=r"expected at most 1\.1 GB"):
        check_clips(frames + 1, 0, image, True)
    with pytest.raises(UsageError, match="first frame of a clip"):
        check_clips(5, 7, image, True)
    with pytest.raises(UsageError, match="an integer from 1"):
        check_clips(0, 0, image, False)
