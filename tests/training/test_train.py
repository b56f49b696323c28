"""The command trains, goes on where it stopped, and refuses what isn't its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.checkpoint import read_checkpoint
from tests.sources.folders import write_images
from tests.training.grey_source import grey_source
from training import train
from training.run import LOG, STATE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(grey_source(), tmp_path_factory.mktemp("images") / "greys")


def test_the_command_trains_resumes_and_finishes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = [str(folder), "-o", str(run), "--batch", "16", "--widths", "32", "--save-every", "64", "--warmup", "16"]
    assert train.main([*command, "--samples", "128"]) == 0
    checkpoint = read_checkpoint(run / "checkpoint.pt")
    assert checkpoint.lineage["samples"] == 128 and checkpoint.guided
    assert {weight.dtype for weight in checkpoint.weights.values()} == {torch.float16}
    assert len((run / LOG).read_text().splitlines()) >= 1
    assert {path.name for path in run.glob("samples-*.png")} == {"samples-000000064.png", "samples-000000128.png"}
    assert train.main([*command, "--samples", "192"]) == 0, "more samples go on"
    assert "going on after 128" in capsys.readouterr().out
    assert read_checkpoint(run / "checkpoint.pt").lineage["samples"] == 192
    assert train.main([*command, "--samples", "192", "--lr", "0.5"]) == 1
    assert "other lr" in capsys.readouterr().err
    warm = ["-o", str(tmp_path / "warm"), "--init-from", str(run / "checkpoint.pt"), "--samples", "16"]
    assert train.main([*command[:1], *warm, *command[3:]]) == 0
    assert read_checkpoint(tmp_path / "warm" / "checkpoint.pt").lineage["before"]["samples"] == 192


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["nowhere"], 1, "neither shards.json nor metadata.jsonl"),
        (["DATA", "--samples", "0"], 2, "--samples: 0"),
        (["DATA", "--lr", "9"], 2, "--lr: 9"),
        (["DATA", "--widths", "33"], 2, "multiple of 32"),
        (["DATA", "--patch", "5"], 2, "expected multiples of"),
        (["DATA", "--init-from", "nothing.pt"], 1, "nothing.pt"),
        (["DATA", "--wrong"], 2, "--wrong"),
        (["DATA", "--device", "abacus"], 1, "--device abacus"),
    ],
)
def test_wrong_arguments_end_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, says: str
) -> None:
    given = [str(folder) if word == "DATA" else word for word in arguments]
    assert train.main([*given, "-o", str(tmp_path / "run")]) == status
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_stopped_before_its_first_save_begins_anew(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / train.ABOUT).write_text("{}")
    (run / LOG).write_text("")
    assert train.main([str(folder), "-o", str(run), "--batch", "16", "--widths", "32", "--samples", "16"]) == 0


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 and nothing more"])
def test_a_damaged_state_is_refused_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / STATE).write_bytes(content)
    assert train.main([str(folder), "-o", str(tmp_path), "--batch", "16", "--widths", "32"]) == 1
    error = capsys.readouterr().err
    assert "damaged" in error and error.count("\n") == 1


def test_a_folder_of_other_files_is_left_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert train.main([str(folder), "-o", str(tmp_path), "--batch", "16", "--widths", "32"]) == 1
    assert "'thesis.txt'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
