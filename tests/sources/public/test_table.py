"""Tables of people's own are read by a mapping file: CSV, COCO, and imagefolders with and without metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contract.errors import EdgeError, Refused
from contract.schemas import CABIN
from sources.public.mapping import LabelMapping
from sources.public.record import Sample, read_layout
from sources.public.table import own_layout
from tests.sources.public.miniatures import IMAGE, write

STATES = {"texting": {"distraction_type": "phone"}, "fine": {"distraction_type": "none", "fatigue_level": "normal"}}
MAPPING: dict[str, Any] = {
    "image": "path",
    "driver": "person",
    "split": "set",
    "clip": ["kss"],
    "columns": {"state": {"values": STATES}, "yaw": {"field": "head_yaw", "factor": -1, "offset": 5}},
}


def read(path: Path, mapping: dict[str, Any] = MAPPING) -> list[Sample]:
    known = LabelMapping.from_dict(mapping)
    return read_layout(path, own_layout(path, known), CABIN, known)


def table(folder: Path, rows: list[str]) -> Path:
    write(folder, ["a/1.jpg", "a/2.jpg", "b/3.jpg"])
    (folder / "labels.csv").write_text("\n".join(["path;person;set;kss;state;yaw", *rows]) + "\n")
    return folder / "labels.csv"


def test_a_csv_file(tmp_path: Path) -> None:
    rows = ["a/1.jpg;p1;train;7;texting;-10", "a/2.jpg;p1;train;;sleepy;90", "b\\3.jpg;p2;test;2;fine;"]
    first, second, third = read(table(tmp_path, rows))
    assert (first.driver, first.split, first.clip) == ("p1", "train", {"kss": "7"})
    assert first.labels == {"distraction_type": "phone", "head_yaw": 15.0}
    assert second.labels == {} and second.raw == {"state": "sleepy", "yaw": "90"}, "out of range, and not in the table"
    assert third.labels == {"distraction_type": "none", "fatigue_level": "normal"}
    assert third.file == tmp_path / "b/3.jpg"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a/1.jpg;;train;;fine;", "labels.csv:2: no person; every record needs a driver"),
        ("a/9.jpg;p1;train;;fine;", r"labels.csv:2: .*a/9.jpg is missing"),
        ("../1.jpg;p1;train;;fine;", "labels.csv:2: file_name '../1.jpg' leaves the folder"),
        (";p1;train;;fine;", "labels.csv:2: no path"),
        ("a/1.jpg;p1;train;;fine;\na/2.jpg;p1;test;;fine;", "driver 'p1' is in the splits 'train' and 'test'"),
        ("a/1.jpg;p1;train", "labels.csv:2: 3 values; expected the 6 columns"),
    ],
)
def test_a_csv_file_that_is_wrong(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=message):
        read(table(tmp_path, [row]))


def test_two_columns_that_contradict_each_other(tmp_path: Path) -> None:
    mapping = MAPPING | {
        "columns": MAPPING["columns"] | {"kss": {"values": {"9": {"distraction_type": "none"}}}},
        "clip": [],
    }
    with pytest.raises(Refused, match=r"1.jpg: distraction_type is none and, by state=texting, phone"):
        read(table(tmp_path, ["a/1.jpg;p1;train;9;texting;"]), mapping)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"columns": {"state": {"values": {"x": {"mood": "bad"}}}}}, "mood: no field of the schema"),
        ({"columns": {"state": {"values": {"x": {"lighting": "dusk"}}}}}, "lighting=dusk: expected one of day"),
        ({"columns": {"yaw": {"field": "lighting"}}}, "lighting has classes; map the values"),
        ({"columns": {"yaw": {"field": "gaze"}}}, "gaze: no field of the schema"),
        ({"columns": {"yaw": {}}}, "expected either values or a field"),
        ({"colums": {}}, "unknown key"),
        ({"columns": {"yaw": {"field": "head_yaw", "factor": "two"}}}, "factor"),
    ],
)
def test_a_mapping_that_is_wrong(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = table(tmp_path, ["a/1.jpg;p1;train;;fine;"])
    with pytest.raises(EdgeError, match=message):
        read(path, MAPPING | changed)


COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a/1.jpg", "person": 7}, {"id": 2, "file_name": "b/3.jpg", "person": 8}],
    "categories": [{"id": 4, "name": "texting"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 4, "attributes": {"yaw": 3, "kss": 5}}],
}
COCO_MAPPING = MAPPING | {"image": "file_name", "columns": MAPPING["columns"] | {"category": {"values": STATES}}}


def coco(folder: Path, content: Any) -> Path:
    write(folder, ["a/1.jpg", "b/3.jpg"])
    (folder / "labels.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "labels.json"


def test_a_coco_file(tmp_path: Path) -> None:
    first, second = read(coco(tmp_path, COCO), COCO_MAPPING)
    assert (first.driver, first.clip) == ("7", {"kss": "5"})
    assert first.labels == {"distraction_type": "phone", "head_yaw": 2.0}
    assert second.driver == "8" and second.labels == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected a COCO file"),
        ("{", "expected a COCO file"),
        ({}, "expected a COCO file"),
        (COCO | {"annotations": COCO["annotations"] * 2}, "image 1 has two annotations; expected one"),
        (COCO | {"annotations": [{"image_id": 9}]}, "image 9 has no entry"),
        (COCO | {"categories": []}, "expected a COCO file"),
        (COCO | {"images": [{"id": 1, "file_name": "a/1.jpg"}]}, "image 1: no person"),
        (COCO | {"images": [{"id": 1, "file_name": "/a.jpg", "person": 1}]}, "leaves the folder"),
        (COCO | {"images": [{"id": 1, "file_name": 3, "person": 1}]}, "expected a COCO file"),
    ],
)
def test_a_coco_file_that_is_wrong(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=message) as error:
        read(coco(tmp_path, content), COCO_MAPPING)
    assert "labels.json" in str(error.value)


FOLDERS: dict[str, Any] = {
    "driver": "folder_2",
    "columns": {"folder": {"values": STATES}},
}


def test_folders_are_columns_where_there_is_no_metadata(tmp_path: Path) -> None:
    write(tmp_path, ["anna/texting/1.jpg", "bert/fine/1.JPG", "bert/.hidden/2.jpg"])
    found = [(s.driver, s.labels.get("distraction_type")) for s in read(tmp_path, FOLDERS)]
    assert found == [("anna", "phone"), ("bert", "none")]
    write(tmp_path, ["3.jpg"])
    with pytest.raises(Refused, match=r"3.jpg: no folder_2; every record needs a driver"):
        read(tmp_path, FOLDERS)


def test_metadata_of_an_imagefolder_with_columns_of_its_own(tmp_path: Path) -> None:
    write(tmp_path / "train/texting", ["1.jpg"], IMAGE)
    line = {"file_name": "texting/1.jpg", "person": "p", "yaw": 5}
    (tmp_path / "train/metadata.jsonl").write_text(json.dumps(line) + "\n")
    columns = {"folder": {"values": STATES}, "yaw": {"field": "head_yaw"}}
    (found,) = read(tmp_path, {"driver": "person", "split": "split", "columns": columns})
    assert found.labels == {"distraction_type": "phone", "head_yaw": 5.0} and found.split == "train"
