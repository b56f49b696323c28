"""`Generator.stream`: batches without end, frame by frame what `generate` draws."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from contract.errors import UsageError
from runtime import Generator

ONE_LEVEL = 1
"""A sum in another order may round a pixel to the neighbouring level of 255."""

WANTED: list[dict[str, object]] = [{"lighting": "night"}, {"eye_openness": 0.1}, {}]


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_a_sequence_is_gone_through_again_and_again(bundle: Path, batch: int | None) -> None:
    with Generator.open(bundle, "cpu", batch=2) as generator:
        drawn = list(itertools.islice(generator.stream(WANTED, seed=5, start=9, batch=batch), 4))
        size = batch or 2
        assert [part.start for part in drawn] == [9 + size * number for number in range(4)]
        assert all(len(part.frames) == len(part.conditions) == size for part in drawn)
        asked = [WANTED[number % 3] for number in range(4 * size)]
        conditions = [condition for part in drawn for condition in part.conditions]
        assert conditions == generator.complete(asked, seed=5, start=9)
        expected = generator.generate(asked, seed=5, start=9)
    found = np.concatenate([part.frames for part in drawn])
    assert np.abs(found.astype(int) - expected).max() <= ONE_LEVEL


def test_an_iterator_is_gone_through_once(bundle: Path) -> None:
    with Generator.open(bundle, "cpu") as generator:
        sizes = [len(part.frames) for part in generator.stream(iter(WANTED * 2), batch=4)]
    assert sizes == [4, 2]


def test_no_more_conditions_are_taken_than_one_batch_ahead(bundle: Path) -> None:
    source = iter([{"lighting": "night"}] * 10)
    with Generator.open(bundle, "cpu") as generator:
        next(generator.stream(source, batch=3))
    assert len(list(source)) in (4, 7)


def test_mistakes_are_told_before_the_first_frame(bundle: Path) -> None:
    with Generator.open(bundle, "cpu") as generator:
        for arguments in ({"seed": -1}, {"batch": 0}, {"batch": 4097}):
            with pytest.raises(UsageError):
                generator.stream(WANTED, **arguments)
        with pytest.raises(UsageError, match="no conditions"):
            generator.stream([])
        with pytest.raises(UsageError, match="one of day, night"):
            next(generator.stream([{"lighting": "dawn"}]))
