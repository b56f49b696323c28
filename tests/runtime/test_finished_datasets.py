"""Finished datasets are verified, merged, converted, and labelled in formats that other programs read."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from audit.report.gallery import collect
from contract.dataset import read_dataset
from pictures.contact_sheet import ContactSheet
from runtime.generate import main as generate
from runtime.merge import main as merge
from runtime.outputs.images import encode_image
from runtime.outputs.reader import open_dataset
from runtime.outputs.writer import FORMATS
from runtime.verify import main as verify
from tests.fake_bundle import IMAGE, LANDMARKS

COUNT = 9


@pytest.fixture
def make(read_bundle: Path, tmp_path: Path) -> Any:
    def run(name: str, *options: str) -> Path:
        assert (
            generate([str(read_bundle), "-o", str(tmp_path / name), "-n", str(COUNT), "--backend", "cpu", *options])
            == 0
        )
        return tmp_path / name

    return run


@pytest.mark.parametrize("layout", FORMATS)
def test_verify_reads_every_file(layout: str, make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make("d", "--format", layout)
    capsys.readouterr()
    assert verify([str(folder), "--precision", "fp16"]) == 2
    assert "--precision: of a bundle, which is replayed" in capsys.readouterr().err
    assert verify([str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == COUNT
    path = next(path for path in (folder / "frames").rglob("*") if path.is_file())
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 20] ^= 0xFF
    path.write_bytes(content)
    assert verify([str(folder)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and path.stem in error.replace("00000000", "00000")


def test_verify_misses_marks_and_frames(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make("d")
    path = folder / "frames/00000/00000004.png"
    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        image.save(path)
    assert verify([str(folder)]) == 1 and "00000004.png: not marked" in capsys.readouterr().err
    path.unlink()
    assert verify([str(folder)]) == 1 and "00000004.png: no such file" in capsys.readouterr().err


def test_merged_datasets_hold_every_record_and_image(make: Any, tmp_path: Path) -> None:
    parts = [make("night", "--set", "lighting=night", "--seed", "1"), make("day", "--seed", "2", "--format", "parquet")]
    out = tmp_path / "both"
    assert merge([*map(str, parts), "-o", str(out), "--format", "webdataset"]) == 0
    assert merge([str(out), "-o", str(tmp_path / "folder")]) == 0
    samples = [sample for part in parts for sample in open_dataset(part).samples()]
    for merged in (out, tmp_path / "folder"):
        found = list(open_dataset(merged).samples())
        assert [s.content for s in found] == [s.content for s in samples]
        names = [s.record["file_name"] for s in found]
        assert names == [f"frames/00000/{place:08d}.png" for place in range(2 * COUNT)]
        assert [s.record | {"file_name": ""} for s in found] == [s.record | {"file_name": ""} for s in samples]
        assert verify([str(merged)]) == 0
        assert merge([*map(str, parts), "-o", str(out), "--format", "webdataset"]) == 0, "complete already"
    assert [part["seed"] for part in read_dataset(tmp_path / "folder").description.parts] == [1, 2]


def test_parts_read_by_several_annotators_are_one_dataset_without_a_threshold(make: Any, tmp_path: Path) -> None:
    parts = [make("one", "--reject-below", "0.1", "--seed", "1"), make("two", "--reject-below", "0.1", "--seed", "2")]
    description = json.loads((parts[1] / "dataset.json").read_text()) | {"annotator": "int8"}
    (parts[1] / "dataset.json").write_text(json.dumps(description))  # this bundle has only one annotator
    assert merge([*map(str, parts), "-o", str(tmp_path / "both")]) == 0
    merged = read_dataset(tmp_path / "both").description
    assert merged.annotator is None and merged.reject_below is None
    assert [part["reject_below"] for part in merged.parts] == [0.1, 0.1]


def test_a_dataset_that_grows_loses_the_card_of_the_smaller_one(make: Any) -> None:
    folder = make("d")
    (folder / "README.md").write_text("9 frames")
    make("d", "-n", "12")
    assert not (folder / "README.md").exists()


def test_pictures_of_a_merged_dataset_go_by_their_place(make: Any, tmp_path: Path) -> None:
    parts = [make("one", "--seed", "1"), make("two", "--seed", "2")]
    assert merge([*map(str, parts), "-o", str(tmp_path / "both")]) == 0
    merged = read_dataset(tmp_path / "both")
    records = list(merged.records())
    assert [record["index"] for record in records] == [*range(COUNT), *range(COUNT)]
    sheet = ContactSheet(merged.description.schema, merged.description.count)
    sheet.add_missing(merged)
    assert sheet.missing == set()
    shown = [card.asked for card in collect(merged, 4).cards]
    assert shown == [merged.condition(records[place]) for place in (0, 6, 11, 17)]


def test_what_does_not_fit_is_not_merged(make: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [str(make("a")), str(make("b", "--codec", "webp"))]
    assert merge([*parts, "-o", str(tmp_path / "both")]) == 1 and "another codec" in capsys.readouterr().err
    assert merge([parts[0], "-o", parts[0]]) == 2
    description = json.loads((tmp_path / "a/dataset.json").read_text()) | {"complete": False}
    (tmp_path / "a/dataset.json").write_text(json.dumps(description))
    assert merge([parts[0], "-o", str(tmp_path / "both")]) == 1 and "unfinished" in capsys.readouterr().err
    assert not (tmp_path / "both").exists()


def test_pycocotools_loads_the_landmarks(make: Any) -> None:
    folder = make("d", "--labels-as", "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "coco.json"))
    records = list(read_dataset(folder).records())
    assert coco.loadCats(1)[0]["keypoints"] == list(LANDMARKS)
    for image, entry in zip(coco.loadImgs(coco.getImgIds()), records, strict=True):
        assert (image["file_name"], image["width"], image["height"]) == (entry["file_name"], IMAGE.width, IMAGE.height)
        (found,) = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        points = np.array(found["keypoints"]).reshape(-1, 3)
        wanted = [(point["x"] * IMAGE.width, point["y"] * IMAGE.height, 2) for point in entry["landmarks"]]
        assert points == pytest.approx(np.array(wanted), abs=PIXELS)
        assert found["attributes"]["lighting"] == entry["lighting"]


PIXELS = 0.005
"""Labels have two decimals."""


def test_openlabel_holds_to_its_schema(make: Any) -> None:
    jsonschema, schema = pytest.importorskip("jsonschema"), pytest.importorskip("vcd.schema")
    folder = make("d", "--labels-as", "openlabel", "--format", "webdataset")
    document = json.loads((folder / "openlabel.json").read_text())
    jsonschema.validate(document, schema.openlabel_schema)
    frames, records = document["openlabel"]["frames"], list(open_dataset(folder).records())
    assert list(frames) == [str(place) for place in range(COUNT)]
    for frame, entry in zip(frames.values(), records, strict=True):
        data = frame["objects"]["0"]["object_data"]
        labels = {each["name"]: each["val"] for kind in ("text", "num") for each in data[kind]}
        assert labels.items() <= entry.items() and len(labels) == len(open_dataset(folder).description.schema.fields)
        assert [point["name"] for point in data["point2d"]] == list(LANDMARKS)


def test_coco_takes_landmarks(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate([str(bundle), "-o", str(tmp_path / "d"), "--backend", "cpu", "--labels-as", "coco"]) == 2
    assert "landmarks" in capsys.readouterr().err and not (tmp_path / "d").exists()


def test_verify_refuses_an_image_of_another_size(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make("d")
    path = folder / "frames/00000/00000004.png"
    with Image.open(path) as image:
        smaller = np.asarray(image.convert("RGB"))[:-1]
    path.write_bytes(encode_image(smaller))
    assert verify([str(folder)]) == 1
    assert "00000004.png: [" in (error := capsys.readouterr().err) and "pixels; expected" in error
