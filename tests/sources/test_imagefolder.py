"""Folders of images with their labels are read as they are, or refused with the line that is wrong."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.errors import Refused
from contract.field import Field
from sources.imagefolder import read_source
from tests.seat_source import SEAT, seat_source
from tests.sources.folders import write_images, write_shards
from tests.training.grey_source import grey_source


def test_frames_of_any_shape_come_back_with_their_labels(tmp_path: Path) -> None:
    source = seat_source(6)
    found = read_source(write_images(source, tmp_path / "seats"), "cabin")
    assert found.schema == source.schema, "named by the folder"
    assert found.image == (1, 16, 24)
    assert np.array_equal(found.frames, source.frames)
    assert np.allclose(found.conditions, source.conditions, atol=1e-6)
    assert np.array_equal(found.hidden, source.hidden)


def test_shards_come_back_whole(tmp_path: Path) -> None:
    source = seat_source(6)
    found = read_source(write_shards(source, tmp_path / "seats"), "cabin")
    assert (found.schema, found.landmarks, found.fingerprint) == (source.schema, source.landmarks, source.fingerprint)
    assert found.points is not None and np.array_equal(found.points, source.points)


def test_a_broken_folder_names_its_line(tmp_path: Path) -> None:
    folder = write_images(grey_source(2), tmp_path / "greys")
    first = json.loads((folder / "metadata.jsonl").read_text().splitlines()[0])

    def refused(content: str) -> str:
        (folder / "metadata.jsonl").write_text(content + "\n")
        with pytest.raises(Refused) as error:
            read_source(folder, "cabin")
        return str(error.value)

    assert "metadata.jsonl:1: no sensor, fatigue_level" in refused('{"file_name": "a.png"}')
    assert "lighting=dusk: expected one of day" in refused(json.dumps(first | {"lighting": "dusk"}))
    assert "frames/9.png: no such image" in refused(json.dumps(first | {"file_name": "frames/9.png"}))
    assert "expected one object a line" in refused("[]")


def test_ends_of_lines_inside_a_text_end_no_record(tmp_path: Path) -> None:
    folder = write_images(grey_source(2), tmp_path / "greys")
    records = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    lines = [json.dumps(record | {"note": "a\u2028b\x85c"}, ensure_ascii=False) for record in records]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert len(read_source(folder, "cabin").frames) == 2


def test_a_folder_of_something_else_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"neither shards.json nor metadata.jsonl"):
        read_source(tmp_path, "cabin")


LABELS = {"occupant": "adult", "belt": "closed", "lamp": 50.0, "lean": 0.0, "weight": 80.0}


def labelled(folder: Path, rows: list[dict[str, object]], name: str = "metadata.jsonl") -> Path:
    """A folder of the seat's schema: one grey image for each row, and the rows as CSV or JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        Image.new("L", (24, 16), 100).save(folder / str(row["file_name"]))
    if name.endswith(".jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
            writer.writeheader()
            writer.writerows(rows)
    return folder


def seats(folder: Path, **changed: Field) -> Path:
    """A folder that names the seat's schema, some of its fields changed."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = tuple(changed.get(field.name, field) for field in SEAT.fields)
    content = {"schema": dataclasses.replace(SEAT, fields=fields).to_dict()}
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_metadata_with_a_bom_is_read(tmp_path: Path, delimiter: str) -> None:
    folder = seats(tmp_path)
    labelled(folder, [{"file_name": f"{n}.png"} | LABELS | {"lamp": 10.0 * n} for n in range(3)], "metadata.csv")
    text = (folder / "metadata.csv").read_text().replace(",", delimiter)
    (folder / "metadata.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = read_source(folder, "cabin")
    assert [condition["lamp"] for condition in found.schema.decode(found.conditions)] == pytest.approx([0, 10, 20])


def test_a_bom_and_blank_lines_in_json_lines_do_no_harm(tmp_path: Path) -> None:
    folder = labelled(seats(tmp_path), [{"file_name": "a.png"} | LABELS])
    (folder / "metadata.jsonl").write_bytes(b"\xef\xbb\xbf" + (folder / "metadata.jsonl").read_bytes() + b"\n\n")
    assert len(read_source(folder, "cabin").frames) == 1


def test_split_folders_are_parts_of_one_source(tmp_path: Path) -> None:
    seats(tmp_path)
    labelled(tmp_path / "train", [{"file_name": f"{n}.png", "driver": f"p{n}"} | LABELS for n in range(2)])
    labelled(tmp_path / "test", [{"file_name": "0.png", "driver": "p9"} | LABELS], "metadata.csv")
    found = read_source(tmp_path, "cabin")
    assert len(found.frames) == 3 and found.subjects is not None and found.subjects.tolist() == [0, 1, 2]
    labelled(tmp_path / "test", [{"file_name": "0.png", "driver": "p1"} | LABELS], "metadata.csv")
    with pytest.raises(Refused, match=r"metadata.csv:2: driver 'p1' is in the splits 'train' and 'test'"):
        read_source(tmp_path, "cabin")


def test_missing_labels_are_refused_hidden_or_a_class(tmp_path: Path) -> None:
    partial = {name: value for name, value in LABELS.items() if name not in ("belt", "lean")}
    folder = labelled(seats(tmp_path), [{"file_name": "a.png"} | LABELS, {"file_name": "b.png"} | partial])
    with pytest.raises(Refused, match=r"metadata.jsonl:2: no belt, lean; .* a class 'unknown'"):
        read_source(folder, "cabin")
    found = read_source(folder, "cabin", partial=True)
    hidden = dict(zip(SEAT.names, found.hidden[1].tolist(), strict=True))
    assert hidden == {"occupant": False, "belt": True, "lamp": False, "lean": True, "weight": False}
    assert not found.hidden[0].any() and not found.conditions[1, SEAT.field("belt").slots].any()
    assert found.unlabelled is not None and found.unlabelled.tolist() == found.hidden.tolist()

    codes = ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0))
    belt = dataclasses.replace(SEAT.field("belt"), values=("open", "closed", "unknown"), codes=codes)
    labelled(seats(tmp_path, belt=belt), [{"file_name": "a.png"} | partial | {"lean": 0.0, "belt": None}])
    known = read_source(folder, "cabin")
    assert known.schema.decode(known.conditions)[0]["belt"] == "unknown"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file_name,lamp,lamp\n", "metadata.csv:1: a column stands twice"),
        (b"file_name,lamp\na.png\n", "metadata.csv:2: 1 values; expected the 2 columns"),
        (b'file_name\n"a.png\n', "metadata.csv: not CSV"),
        (b"file_name\n\xff\xfe\n", "metadata.csv: not UTF-8 text"),
        (b"lamp\n3\n", "metadata.csv:2: no file_name"),
        (b"file_name\n../a.png\n", "metadata.csv:2: file_name '../a.png' leaves the folder"),
        (b"file_name\n/etc/passwd\n", "leaves the folder"),
        (b"", "no record in metadata.jsonl or metadata.csv"),
    ],
)
def test_damaged_csv_names_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (seats(tmp_path) / "metadata.csv").write_bytes(content)
    with pytest.raises(Refused, match=message):
        read_source(tmp_path, "cabin")


def test_two_kinds_of_metadata_in_one_folder_are_refused(tmp_path: Path) -> None:
    folder = labelled(seats(tmp_path), [{"file_name": "a.png"} | LABELS])
    (folder / "metadata.csv").write_text("file_name\na.png\n")
    with pytest.raises(Refused, match="lie side by side"):
        read_source(folder, "cabin")
