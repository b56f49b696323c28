"""`python -m runtime.generate`: the dataset that it leaves, and the one line that it leaves when it can't."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from contract.dataset import Dataset, read_dataset
from contract.schemas import CABIN
from runtime import Generator
from runtime.generate import main

ONE_LEVEL = 1
"""A sum in another order may round a pixel to the neighbouring level of 255."""


def frames_of(dataset: Dataset) -> np.ndarray:
    return np.stack([np.asarray(Image.open(dataset.frame_path(record))) for record in dataset.records()])


def generate(bundle: Path, output: Path, *options: str) -> Dataset:
    assert main([str(bundle), "-o", str(output), "--backend", "cpu", *options]) == 0
    return read_dataset(output)


def failed(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str]:
    """Exit status and the one line on stderr of a command that must fail."""
    status = main([str(word) for word in argv])
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "Traceback" not in captured.err
    return status, captured.err


def test_the_folder_holds_what_the_contract_lists(bundle: Path, tmp_path: Path) -> None:
    dataset = generate(bundle, tmp_path / "d", "-n", "5", "--seed", "7", "--set", "lighting=night", "gender=female")
    description, records = dataset.description, list(dataset.records())
    assert (description.count, description.seed, description.complete) == (5, 7, True)
    assert description.schema == CABIN and description.checkpoint == "0" * 64
    assert [record["index"] for record in records] == list(range(5))
    assert all((r["lighting"], r["gender"], r["synthetic"], r["seed"]) == ("night", "female", True, 7) for r in records)
    assert sorted(path.name for path in (tmp_path / "d").iterdir()) == ["dataset.json", "frames", "metadata.jsonl"]
    assert Image.open(tmp_path / "d.contact.png").width >= 3 * 128


def test_frames_are_the_generators(bundle: Path, tmp_path: Path) -> None:
    dataset = generate(bundle, tmp_path / "d", "-n", "9", "--seed", "7")
    conditions = [dataset.condition(record) for record in dataset.records()]
    with Generator.open(bundle, "cpu") as generator:
        assert conditions == generator.complete([{}] * 9, seed=7)
        np.testing.assert_array_equal(frames_of(dataset), generator.generate(conditions, seed=7))


@pytest.mark.parametrize("batch", ["1", "4", "7"])
def test_the_batch_changes_nothing(bundle: Path, tmp_path: Path, batch: str) -> None:
    plain = generate(bundle, tmp_path / "plain", "-n", "10")
    other = generate(bundle, tmp_path / "other", "-n", "10", "--batch", batch)
    assert list(plain.records()) == list(other.records())
    assert np.abs(frames_of(plain).astype(int) - frames_of(other).astype(int)).max() <= ONE_LEVEL


@pytest.mark.parametrize("each", [1, 2])
def test_a_grid_has_each_cell_as_often_as_asked(bundle: Path, tmp_path: Path, each: int) -> None:
    names = ("fatigue_level", "distraction_type", "lighting", "accessory")
    dataset = generate(bundle, tmp_path / "d", "--grid", ",".join(names), "-n", str(each))
    records = list(dataset.records())
    cells = Counter(tuple(record[name] for name in names) for record in records)
    assert len(cells) == 320 and set(cells.values()) == {each} and len(records) == 320 * each
    with Generator.open(bundle, "cpu") as generator:
        last = generator.generate([dataset.condition(records[-1])], start=len(records) - 1)
    assert np.abs(frames_of(dataset)[-1].astype(int) - last[0]).max() <= ONE_LEVEL


def test_a_finished_dataset_is_left_as_it_is(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate(bundle, tmp_path / "d", "-n", "3")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "d" / "frames").iterdir()}
    capsys.readouterr()
    generate(bundle, tmp_path / "d", "-n", "3")
    assert "complete already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "d" / "frames").iterdir()} == before


def test_an_unfinished_dataset_goes_on(bundle: Path, tmp_path: Path) -> None:
    whole = generate(bundle, tmp_path / "whole", "-n", "20", "--grid", "lighting,headwear")
    part = generate(bundle, tmp_path / "part", "-n", "20", "--grid", "lighting,headwear")
    lines = (tmp_path / "part" / "metadata.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "part" / "metadata.jsonl").write_text("".join(lines[:71]))
    generate(bundle, tmp_path / "part", "-n", "20", "--grid", "lighting,headwear")
    assert list(part.records()) == list(whole.records())
    assert np.abs(frames_of(part).astype(int) - frames_of(whole).astype(int)).max() <= ONE_LEVEL


def test_json_tells_what_was_done(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate(bundle, tmp_path / "d", "-n", "3", "--json")
    figures: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (figures["frames"], figures["new"], figures["backend"], figures["precision"]) == (3, 3, "cpu", "fp32")
    assert 0 < figures["engine_seconds"] < figures["seconds"] and Path(figures["contact_sheet"]).is_file()


def test_auto_says_what_it_chose(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(bundle), "-o", str(tmp_path / "d"), "-n", "1"]) == 0
    said = capsys.readouterr().err
    assert said.startswith("runtime.generate: auto: ") and said.count("\n") == 1


USAGE = {
    "no frames": (["-n", "0"], "expected an integer from 1"),
    "negative frames": (["-n", "-5"], "expected an integer from 1"),
    "too many frames": (["--grid", "lighting", "-n", "100000000"], "at most 100000000"),
    "words": (["-n", "many"], "expected an integer"),
    "no batch": (["--batch", "0"], "from 1 to 4096"),
    "big seed": (["--seed", str(2**64)], "from 0 to 18446744073709551615"),
    "unknown field": (["--set", "colour=red"], "it has sensor, fatigue_level, distraction_type"),
    "unknown value": (["--set", "lighting=dawn"], "one of day, night, tunnel, backlight"),
    "out of range": (["--set", "head_yaw=46"], "from -45 to 45 degrees"),
    "no pair": (["--set", "night"], "expected field=value"),
    "twice": (["--set", "lighting=day", "--set", "lighting=night"], "set twice"),
    "grid of nothing known": (["--grid", "colour"], "it has sensor, fatigue_level"),
    "grid of a number": (["--grid", "eye_openness"], "a number has no grid"),
    "grid twice": (["--grid", "lighting,lighting"], "twice in the grid"),
    "grid and set": (["--grid", "lighting", "--set", "lighting=day"], "both set and in the grid"),
    "unknown backend": (["--backend", "abacus"], "invalid choice"),
    "unknown format": (["--format", "tar"], "invalid choice"),
    "unknown option": (["--fast"], "unrecognized arguments"),
}


@pytest.mark.parametrize(("options", "message"), USAGE.values(), ids=USAGE)
def test_a_wrong_argument_is_one_line_and_status_2(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    status, line = failed(capsys, bundle, "-o", tmp_path / "d", "--backend", "cpu", *options)
    assert status == 2 and message in line
    assert not (tmp_path / "d").exists()


def test_a_missing_bundle_and_a_foreign_folder_are_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failed(capsys, tmp_path / "nowhere", "-o", tmp_path / "d")[0] == 1
    assert not (tmp_path / "d").exists()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "thesis.txt").write_text("mine")
    status, line = failed(capsys, bundle, "-o", tmp_path / "d", "--backend", "cpu")
    assert status == 1 and "'thesis.txt'" in line
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["thesis.txt"]


def test_another_dataset_is_refused(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generate(bundle, tmp_path / "d", "-n", "3", "--seed", "1")
    capsys.readouterr()
    status, line = failed(capsys, bundle, "-o", tmp_path / "d", "-n", "3", "--seed", "2", "--backend", "cpu")
    assert status == 1 and "another dataset (other seed)" in line


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["--help"])
    assert leaving.value.code == 0 and "python -m runtime.generate bundle" in capsys.readouterr().out
