"""Ratios and verdicts of a run, on figures whose answer is known."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from benchmarks.summary import FLOORS, SLACK, over, ratios, regressions, table


def _row(name: str, batch: int, *rates: float) -> dict[str, Any]:
    return {"name": name, "batch": batch, "frames_per_second": statistics.median(rates), "by_turn": list(rates)}


def test_a_ratio_is_the_geometric_mean_over_the_batches_that_both_have() -> None:
    rows = [_row("a", 1, 8.0), _row("a", 8, 10.0), _row("a", 4, 99.0), _row("b", 1, 4.0), _row("b", 8, 20.0)]
    rows += [_row("c", 1, 1.0), _row("c", 8, 1.0)]
    found = over(rows, "a", ["b", "c"])
    assert found is not None
    assert found["by_batch"] == {1: 2.0, 8: 0.5} and found["value"] == pytest.approx(1.0)
    assert over(rows, "a", ["nobody"]) is None


def test_a_ratio_compares_the_turns_that_both_took_one_after_the_other() -> None:
    rows = [_row("a", 8, 10.0, 20.0, 30.0), _row("b", 8, 5.0, 40.0, 10.0), _row("c", 8, 1.0, 1.0, 15.0)]
    found = over(rows, "a", ["b", "c"])
    assert found is not None and found["by_batch"] == {8: 2.0}  # of 2, 0.5 and 3


def test_a_batch_counts_that_one_of_the_others_has() -> None:
    rows = [_row("a", 1, 8.0), _row("a", 8, 10.0), _row("b", 1, 4.0), _row("c", 1, 2.0), _row("c", 8, 5.0)]
    found = over(rows, "a", ["b", "c"])
    assert found is not None and found["by_batch"] == {1: 2.0, 8: 2.0}


def test_the_best_of_torch_is_what_counts() -> None:
    rows = [_row("ours fp32", 8, 30.0), _row("torch eager", 8, 10.0), _row("torch compile channels-last", 8, 20.0)]
    assert ratios(rows)["fp32_over_best_torch_fp32"]["value"] == pytest.approx(1.5)


def test_rows_pool_the_draws_of_all_processes_and_report_their_spread() -> None:
    def process(seconds: list[float]) -> list[dict[str, Any]]:
        apart = {"levels": 0.0, "psnr_db": 100.0}
        return [
            {
                "name": "ours fp32",
                "batch": 8,
                "seconds": seconds,
                "turns": seconds[:1],
                "difference": apart,
                "joules": 6.0,
            }
        ]

    (row,) = table([process([1.0, 1.0, 4.0]), process([2.0, 2.0, 2.0])], {"ours fp32": {"load_s": 0.5}}, steps=4)
    assert row["frames_per_second"] == pytest.approx(8 / 1.5) and row["spread"] == pytest.approx(1 / 1.5)
    assert row["samples"] == 6 and row["latency_ms"]["p50"] == 2000.0 and row["step_ms"]["p50"] == 500.0
    assert row["latency_ms"]["p90"] is None and row["step_ms"]["p99"] is None, "six draws don't tell"
    assert row["joules_per_frame"] == pytest.approx(0.25) and row["load_s"] == 0.5 and row["same_frames"]


def test_a_regression_is_reported_on_the_machine_of_the_baseline_alone() -> None:
    machine = {"cpu": "x", "cores": 2}
    baseline = machine | {"ratios": {"int8_over_fp32": 2.0}}
    slow = {"int8_over_fp32": {"value": 2.0 * SLACK - 0.01}}
    assert "--renew-baseline" in regressions(slow, baseline, machine)[0]
    for other in ({"cpu": "another"}, {"cores": 16}):
        assert not regressions(slow, baseline, machine | other)
    assert not regressions({"int8_over_fp32": {"value": 2.0 * SLACK}}, baseline, machine)
    below = {name: {"value": floor - 0.01} for name, floor in FLOORS.items()}
    assert len(regressions(below, {}, machine)) == len(FLOORS)
