"""`--batch auto`: sizes are tried in rising order until they stop paying, and the smallest fast one is taken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contract.errors import UsageError
from runtime import Generator, batch_sweep
from runtime.batch_sweep import candidates, fastest, sweep
from runtime.generate import main as generate


def test_the_sizes_that_are_tried() -> None:
    assert candidates(()) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert candidates((1, 8, 24)) == [1, 2, 4, 8, 16, 24]
    assert candidates((6, 6, 6)) == [6]
    assert candidates((3, 5, 9)) == [3, 4, 5, 8, 9]


@pytest.mark.parametrize(
    ("rates", "best"),
    [({1: 10.0, 2: 20.0, 4: 40.0}, 4), ({1: 10.0, 2: 20.0, 4: 20.5}, 2), ({1: 30.0, 2: 20.0}, 1), ({8: 1.0}, 8)],
)
def test_the_smallest_fast_size_is_taken(rates: dict[int, float], best: int) -> None:
    assert fastest(rates) == best


def test_sizes_are_measured_until_they_stop_paying(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {1: 10.0, 2: 20.0, 4: 30.0, 8: 30.0, 16: 31.0, 32: 99.0}
    monkeypatch.setattr(batch_sweep, "_rate", lambda generator, size: made[size])
    with Generator.open(bundle, "cpu") as generator:
        assert list(sweep(generator)) == [1, 2, 4, 8, 16]


def test_a_size_without_memory_ends_the_sweep(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rate(generator: Generator, size: int) -> float:
        if size == 4:
            raise UsageError("batch 4: not enough memory")
        return float(size)

    monkeypatch.setattr(batch_sweep, "_rate", rate)
    with Generator.open(bundle, "cpu") as generator:
        assert sweep(generator) == {1: 1.0, 2: 2.0}


def test_the_command_takes_what_was_measured_and_draws_the_same_frames(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(batch_sweep, "SECONDS", 0.0)
    monkeypatch.setattr(batch_sweep, "LARGEST", 4)
    output = ["-o", str(tmp_path / "d"), "-n", "2", "--backend", "cpu"]
    assert generate([str(bundle), *output, "--batch", "auto", "--json"]) == 0
    captured = capsys.readouterr()
    batch = json.loads(captured.out)["batch"]
    assert batch in (1, 2, 4) and f"--batch auto: {batch} of 1: " in captured.err
    with Generator.open(bundle, "cpu") as generator:
        before = generator.generate([{}] * 4, seed=3)
        rates = sweep(generator)
        assert all(rate > 0 for rate in rates.values()) and np.array_equal(generator.generate([{}] * 4, seed=3), before)


def test_other_words_are_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate([str(bundle), "--batch", "many"]) == 2
    assert "expected an integer from 1 to 4096, or auto" in capsys.readouterr().err
