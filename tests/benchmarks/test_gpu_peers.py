"""The benchmark of GPUs, as far as a CPU goes: what counts as the same frames, what is refused, and the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_peers import check_case, main, measure, parse_args, table
from benchmarks.gpu_ways import WAYS, Case
from contract.errors import Refused
from contract.gpu import driver_problem
from models.checkpoint import write_checkpoint
from tests.export.calm_checkpoint import calm_checkpoint
from tests.fake_bundle import write_fake_bundle

BATCH = 3
STORED = Path(__file__).parents[2] / "benchmarks/results/gpu-h100.json"


@pytest.fixture
def case(calm_bundle: Path) -> Case:
    return Case(calm_bundle, calm_bundle.parent / "calm.pt", device="cpu")


def test_ways_that_draw_the_same_frames_count(case: Case) -> None:
    names = ["ours cuda fp32", "ours cuda int8", "torch eager fp32", "torch eager fp16"]
    rows = list(measure(case, BATCH, seconds=0.01, ways=[WAYS[name] for name in names]))
    assert [row["name"] for row in rows] == names
    for row in rows:
        assert row["samples"] >= 5 and 0.0 < row["frames_per_second"] <= row["engine_frames_per_second"]
        assert row["engine_ms"] == pytest.approx(1e3 * BATCH / row["engine_frames_per_second"])
    assert rows[1]["difference"]["levels"] > 1  # int8 is held to PSNR instead


def test_another_network_is_timed_for_nothing(case: Case, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "other.pt", calm_checkpoint(seed=13))
    other = Case(case.bundle, tmp_path / "other.pt", device="cpu")
    for row in measure(other, BATCH, seconds=0.01, ways=[WAYS["torch eager fp32"], WAYS["torch eager fp16"]]):
        assert "other frames" in row["failed"] and "frames_per_second" not in row
    with pytest.raises(Refused, match=r"not exported from .*other\.pt; run: python -m export"):
        check_case(other)
    assert check_case(case).sampler.steps == 4


def test_what_a_bundle_lacks_is_not_measured(tmp_path: Path) -> None:
    write_fake_bundle(tmp_path / "b")
    case = Case(tmp_path / "b", tmp_path / "none.pt", device="cpu")
    (row,) = measure(case, BATCH, seconds=0.01, ways=[WAYS["ours cuda fp16"]])
    assert "fp16" in row["not_measured"] and "engine_ms" not in row


@pytest.mark.skipif(not driver_problem(), reason="there is a GPU here")
def test_without_a_gpu_it_is_refused_in_one_line(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(case.bundle), str(case.checkpoint), "-o", str(tmp_path / "gpu.json")]) == 1
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1 and "needs an NVIDIA GPU" in said.err
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.gpu
@pytest.mark.skipif(bool(driver_problem()), reason=driver_problem() or "")
def test_a_gpu_is_measured(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "gpu.json"
    command = [str(case.bundle), str(case.checkpoint), "--batch", "2", "--seconds", "0.01", "-o", str(output)]
    main(command)
    rows = {row["name"]: row for row in json.loads(output.read_text())["rows"]}
    assert list(rows) == list(WAYS), capsys.readouterr().err
    for name in ("ours cuda fp32", "torch eager fp32", "torch graph tf32", "torch graph fp16"):
        assert rows[name].get("engine_ms"), rows[name]


@pytest.mark.parametrize("options", [["--batch", "0"], ["--seconds", "0"], ["--seconds", "nan"], ["--seconds", "x"]])
def test_wrong_options_are_usage_errors(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "checkpoint.pt", *options]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert parse_args(["bundle", "checkpoint.pt"]).batch == [1, 32, 256]


def test_the_table_has_the_fastest_first_and_no_row_that_does_not_count() -> None:
    def row(name: str, batch: int, ms: float) -> dict[str, Any]:
        rates = {"engine_frames_per_second": 1e3 * batch / ms, "frames_per_second": 1.0}
        return {"name": name, "batch": batch, "engine_ms": ms, **rates, "difference": {"levels": 1.0, "psnr_db": 60.0}}

    rows = [
        row("slow", 8, 4.0),
        row("large", 32, 1.0),
        row("fast", 8, 2.0),
        {"name": "none", "batch": 8, "failed": "x"},
    ]
    assert [line.split()[1] for line in table(rows).splitlines()] == ["name", "fast", "slow", "large"]


def test_the_stored_rows_are_of_ways_that_exist() -> None:
    rows = json.loads(STORED.read_text())["rows"]
    assert len(rows) > 20 and {row["name"] for row in rows} <= WAYS.keys()
    for row in rows:
        assert row["precision"] == WAYS[row["name"]].precision and ("engine_ms" in row) != ("not_measured" in row)
