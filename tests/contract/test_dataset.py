"""A dataset on disk is valid at any moment, goes on where it stopped, and is never mixed with anything else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contract.dataset import Description, Record, frame_name, read_dataset, record
from contract.errors import Refused
from contract.field import Condition
from contract.frame_record import OPTIONAL
from contract.frames import ImageShape
from contract.schemas import CABIN
from runtime.outputs.folder import FolderWriter

PNG = b"\x89PNG as far as the layout is concerned"
PLAN = {"cells": [{"set": {}, "grid": [], "each": 6}]}
DESCRIPTION = Description("b" * 64, "f" * 64, "c" * 64, CABIN, ImageShape(3, 16, 16), seed=3, count=6, plan=PLAN)


def condition(index: int) -> Condition:
    return CABIN.complete({}, np.random.default_rng(index))


def records(first: int, last: int) -> list[Record]:
    return [record(index, 3, condition(index)) for index in range(first, last)]


def fill(folder: Path, last: int, description: Description = DESCRIPTION) -> None:
    with FolderWriter(folder, description) as writer:
        for index in range(writer.written, last):
            writer.place(index, PNG)
            writer.append(records(index, index + 1))


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def whole(last: int) -> list[str]:
    return sorted(["dataset.json", "metadata.jsonl", *map(frame_name, range(last))])


def test_a_dataset_is_read_as_it_was_written(tmp_path: Path) -> None:
    fill(tmp_path / "d", 6)
    dataset = read_dataset(tmp_path / "d")
    assert dataset.description == replace(DESCRIPTION, complete=True)
    assert list(dataset.records()) == records(0, 6)
    assert [dataset.condition(entry) for entry in dataset.records()] == [condition(i) for i in range(6)]
    assert all(dataset.frame_path(entry).read_bytes() == PNG for entry in dataset.records())
    assert names(tmp_path / "d") == whole(6)


def test_single_records_are_read_alone(tmp_path: Path) -> None:
    fill(tmp_path / "d", 6)
    dataset = read_dataset(tmp_path / "d")
    assert [entry["index"] for entry in dataset.records({1, 4, 99})] == [1, 4]


def test_a_record_has_what_the_contract_lists(tmp_path: Path) -> None:
    entry = records(2, 3)[0]
    assert list(entry) == ["file_name", "index", "seed", *CABIN.names, "synthetic", "origin", *OPTIONAL]
    assert (entry["file_name"], entry["index"], entry["seed"], entry["synthetic"]) == (
        "frames/00000/00000002.png",
        2,
        3,
        True,
    )


def test_an_unfinished_dataset_goes_on_where_it_stopped(tmp_path: Path) -> None:
    fill(tmp_path, 4)
    assert not read_dataset(tmp_path).description.complete
    with FolderWriter(tmp_path, DESCRIPTION) as writer:
        assert writer.written == 4
    fill(tmp_path, 6)
    assert read_dataset(tmp_path).description.complete
    assert list(read_dataset(tmp_path).records()) == records(0, 6)


def test_a_frame_without_a_record_is_dropped(tmp_path: Path) -> None:
    with FolderWriter(tmp_path, DESCRIPTION) as writer:
        writer.place(0, PNG)
        writer.append(records(0, 1))
        writer.place(1, PNG)
    assert names(tmp_path) == whole(1)


DAMAGE = {
    "cut line": lambda d: (d / "metadata.jsonl").write_bytes((d / "metadata.jsonl").read_bytes()[:-20]),
    "no newline": lambda d: (d / "metadata.jsonl").write_bytes((d / "metadata.jsonl").read_bytes()[:-1]),
    "missing frame": lambda d: (d / frame_name(3)).unlink(),
    "empty frame": lambda d: (d / frame_name(3)).write_bytes(b""),
    "left temporary file": lambda d: (d / "frames/00000/00000004.png.tmp").write_bytes(PNG),
    "left frame": lambda d: (d / frame_name(5)).write_bytes(PNG),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_a_power_cut_leaves_is_mended(tmp_path: Path, damage: object) -> None:
    fill(tmp_path, 4)
    damage(tmp_path)  # type: ignore[operator]
    with FolderWriter(tmp_path, DESCRIPTION) as writer:
        good = writer.written
    assert good in (3, 4)
    assert names(tmp_path) == whole(good)
    assert list(read_dataset(tmp_path).records()) == records(0, good)
    fill(tmp_path, 6)
    assert list(read_dataset(tmp_path).records()) == records(0, 6)


OTHERS = {
    "seed": {"seed": 4},
    "count": {"count": 7},
    "frames": {"frames": "d" * 64},
    "plan": {"plan": {"cells": [{"set": {"gender": "male"}, "grid": [], "each": 6}]}},
    "precision": {"precision": "fp16"},
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_another_dataset_is_refused_and_left_alone(tmp_path: Path, change: dict[str, object]) -> None:
    fill(tmp_path, 4)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    with pytest.raises(Refused, match=f"another dataset .*{next(iter(change))}"):
        FolderWriter(tmp_path, replace(DESCRIPTION, **change))  # type: ignore[arg-type]
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


FOREIGN = ["notes.txt", ".hidden", "frames/cat.png", "frames/00000/1.png", "frames/00000/00001000.png"]


@pytest.mark.parametrize(("name", "started"), [*((n, s) for n in FOREIGN for s in (0, 2)), ("metadata.jsonl", 0)])
def test_a_folder_that_holds_anything_else_is_refused(tmp_path: Path, name: str, started: int) -> None:
    if started:
        fill(tmp_path, started)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    before = names(tmp_path)
    with pytest.raises(Refused, match="name another"):
        FolderWriter(tmp_path, DESCRIPTION)
    assert names(tmp_path) == before


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("mine")
    with pytest.raises(Refused, match="expected a folder"):
        FolderWriter(tmp_path / "d", DESCRIPTION)


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with FolderWriter(tmp_path, DESCRIPTION), pytest.raises(Refused, match="another run"):
        FolderWriter(tmp_path, DESCRIPTION)


READ = replace(DESCRIPTION, annotator="fp32", reject_below=0.5)


def read_records(first: int, last: int) -> list[Record]:
    """Every third frame disagrees, and index i took i + 1 tries."""
    found = []
    for index in range(first, last):
        shown = {**condition(index), "gaze_yaw": None}
        reading = {
            "measured": shown,
            "agrees": index % 3 != 0,
            "landmarks": [],
            "attempt": index // 2,
            "tries": index + 1,
        }
        found.append(record(index, 3, condition(index), reading))
    return found


def fill_read(folder: Path, last: int) -> None:
    with FolderWriter(folder, READ) as writer:
        for index in range(writer.written, last):
            writer.place(index, PNG)
            writer.append(read_records(index, index + 1))


def test_what_an_annotator_read_is_counted_over_interruptions(tmp_path: Path) -> None:
    fill_read(tmp_path, 2)
    begun = read_dataset(tmp_path).description
    assert (begun.complete, begun.rejected, begun.disagreeing) == (False, None, None)
    fill_read(tmp_path, 5)
    with open(tmp_path / "metadata.jsonl", "ab") as file:
        file.write(b'{"half a record')
    fill_read(tmp_path, 6)
    told = read_dataset(tmp_path).description
    assert (told.complete, told.rejected, told.disagreeing) == (True, 0 + 1 + 2 + 3 + 4 + 5, 2)
    assert list(read_dataset(tmp_path).records()) == read_records(0, 6)
    fill_read(tmp_path, 6)
    assert read_dataset(tmp_path).description == told


@pytest.mark.parametrize("change", [{"annotator": "int8"}, {"reject_below": 0.6}], ids=["annotator", "reject_below"])
def test_another_annotator_or_threshold_is_another_dataset(tmp_path: Path, change: dict[str, object]) -> None:
    fill_read(tmp_path, 6)
    with pytest.raises(Refused, match=f"other {next(iter(change))}"):
        FolderWriter(tmp_path, replace(READ, **change))  # type: ignore[arg-type]


ODD_READINGS = {
    "measured is missing": {"measured": ...},
    "agrees is missing": {"agrees": ...},
    "attempt is missing": {"attempt": ...},
    "measured is no object": {"measured": []},
    "measured without a field": {"measured": {"lighting": "day"}},
    "measured with an unknown class": {"measured": {**condition(1), "lighting": "dawn"}},
    "measured out of range": {"measured": {**condition(1), "gaze_yaw": 36.0}},
    "measured as text": {"measured": {**condition(1), "gaze_yaw": "3"}},
    "agrees is a number": {"agrees": 1},
    "attempt is true": {"attempt": True},
    "attempt beyond the tries": {"attempt": 2, "tries": 2},
    "no tries": {"attempt": 0, "tries": 0},
    "tries as text": {"tries": "2"},
}


@pytest.mark.parametrize("change", ODD_READINGS.values(), ids=ODD_READINGS)
def test_an_odd_reading_is_refused_and_drawn_again(tmp_path: Path, change: dict[str, object]) -> None:
    fill_read(tmp_path, 2)
    first, second = (tmp_path / "metadata.jsonl").read_text().splitlines()
    entry = {key: value for key, value in (json.loads(second) | change).items() if value is not ...}
    (tmp_path / "metadata.jsonl").write_text(first + "\n" + json.dumps(entry) + "\n")
    with pytest.raises(Refused, match="line 2"):
        list(read_dataset(tmp_path).records())
    with FolderWriter(tmp_path, READ) as writer:
        assert writer.written == 1


def test_a_reading_that_the_description_does_not_know_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (tmp_path / "metadata.jsonl").write_text(json.dumps(read_records(0, 1)[0]) + "\n")
    with pytest.raises(Refused, match=r"line 1: measured .*isn't what dataset\.json says"):
        list(read_dataset(tmp_path).records())


ODD_DESCRIPTIONS = [
    {"annotator": 1},
    {"annotator": None},
    {"reject_below": 1.5},
    {"reject_below": "0.5"},
    {"rejected": -1},
    {"disagreeing": True},
]


@pytest.mark.parametrize("change", ODD_DESCRIPTIONS, ids=str)
def test_an_odd_word_on_the_annotator_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    fill_read(tmp_path, 6)
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(Refused, match=r"dataset\.json"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": "dms-edge/dataset@1"}', b"\xff"])
def test_an_odd_description_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(Refused, match=r"dataset\.json"):
        read_dataset(tmp_path)
    with pytest.raises(Refused, match=r"dataset\.json"):
        FolderWriter(tmp_path, DESCRIPTION)


@pytest.mark.parametrize("key", ["file_name", "index", "seed", "lighting", "eye_openness"])
def test_an_odd_record_is_refused(tmp_path: Path, key: str) -> None:
    fill(tmp_path, 2)
    first, second = (tmp_path / "metadata.jsonl").read_text().splitlines()
    (tmp_path / "metadata.jsonl").write_text(first + "\n" + json.dumps(json.loads(second) | {key: "../x"}) + "\n")
    found = read_dataset(tmp_path).records()
    assert next(found) == records(0, 1)[0]
    with pytest.raises(Refused, match="line 2"):
        next(found)
