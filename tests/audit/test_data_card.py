"""The card says what the files hold: its figures, its front matter, and Croissant as mlcroissant reads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from audit.data_card.__main__ import CROISSANT, README, main
from audit.data_card.readme import size_category
from contract.dataset import read_dataset
from runtime.generate import main as generate
from tests.fake_bundle import write_fake_bundle

yaml = pytest.importorskip("yaml", reason="PyYAML isn't installed: pip install '.[audit]'")


def make(folder: Path, *options: str, annotator: bool = True) -> Path:
    write_fake_bundle(folder / "bundle", annotator=annotator)
    assert generate([str(folder / "bundle"), "-o", str(folder / "frames"), "--backend", "cpu", *options]) == 0
    return folder / "frames"


def card_of(dataset: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([str(dataset), "--json", *options]) == 0
    card: dict[str, Any] = json.loads(capsys.readouterr().out)
    return card


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("card"), "-n", "12")


@pytest.fixture
def dataset(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "frames"))


def test_figures_are_those_of_the_records(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = card_of(dataset, capsys)
    records = list(read_dataset(dataset).records())
    assert card["frames"] == len(records) == 12
    assert card["bytes"] == sum((dataset / record["file_name"]).stat().st_size for record in records)
    assert card["agreement"]["value"] == pytest.approx(np.mean([record["agrees"] for record in records]), rel=1e-3)
    women = [record["agrees"] for record in records if record["gender"] == "female"]
    group = card["persons"]["value"]["gender"]["female"]
    assert (group["frames"], group["agreement"]["value"]) == (len(women), pytest.approx(np.mean(women), rel=1e-3))
    assert sum(group["frames"] for group in card["persons"]["value"]["skin_tone"].values()) == 12
    assert card["origins"] == {"generated": 12}


def test_what_nobody_stated_or_measured_is_null_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = make(tmp_path, "-n", "2", annotator=False)
    card = card_of(dataset, capsys, "--purpose", "a test")
    assert card["stated"]["purpose"] == {"value": "a test", "reason": None}
    assert card["stated"]["retention"]["value"] is None and "--retention" in card["stated"]["retention"]["reason"]
    assert card["agreement"]["value"] is None and "annotator" in card["agreement"]["reason"]
    assert card["privacy"]["epsilon"] is None and card["privacy"]["reason"]
    text = (dataset / README).read_text()
    assert "none: no annotator has read these frames" in text and "| nan" not in text.lower()


def test_the_front_matter_declares_every_column_of_the_records(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card_of(dataset, capsys, "--license", "CC-BY-4.0")
    front = yaml.safe_load((dataset / README).read_text().split("---\n")[1])
    assert front["license"] == "cc-by-4.0" and front["size_categories"] == ["n<1K"]
    names = [feature["name"] for feature in front["dataset_info"]["features"]]
    assert set(names) == (set(next(iter(read_dataset(dataset).records()))) - {"file_name"}) | {"image"}
    assert front["dataset_info"]["splits"] == [
        {"name": "train", "num_bytes": card_of(dataset, capsys)["bytes"], "num_examples": 12}
    ]


def test_mlcroissant_validates_the_metadata_and_reads_every_record_with_its_picture(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant isn't installed: pip install '.[dev]'")
    card_of(dataset, capsys, "--license", "CC-BY-4.0", "--purpose", "a test", "--retention", "a day")
    loaded = mlcroissant.Dataset(jsonld=str(dataset / CROISSANT))
    assert loaded.metadata.ctx.issues.errors == set()
    assert loaded.metadata.data_use_cases == ["a test"]
    found = {record["frames/index"]: record for record in loaded.records("frames")}
    assert sorted(found) == list(range(12))
    for record in read_dataset(dataset).records():
        same = found[record["index"]]
        assert same["frames/lighting"].decode() == record["lighting"]
        assert same["frames/gaze_yaw"] == pytest.approx(record["gaze_yaw"], abs=1e-9)
        with Image.open(dataset / record["file_name"]) as image:
            assert np.array_equal(np.asarray(same["frames/image"]), np.asarray(image.convert("RGB")))


def test_a_missing_frame_is_refused_by_name(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = next(iter(read_dataset(dataset).records()))
    (dataset / record["file_name"]).unlink()
    assert main([str(dataset)]) == 1
    assert record["file_name"] in capsys.readouterr().err and not (dataset / README).exists()


def test_an_unfinished_dataset_has_no_card(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset / "dataset.json"
    path.write_text(path.read_text().replace('"complete": true', '"complete": false'))
    assert main([str(dataset)]) == 1
    assert "isn't complete" in capsys.readouterr().err


def test_a_licence_is_an_identifier(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(dataset), "--license", "do what you like"]) == 2
    assert "SPDX" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("frames", "expected"), [(999, "n<1K"), (1000, "1K<n<10K"), (20_000, "10K<n<100K"), (2 * 10**9, "n>1B")]
)
def test_size_categories_are_the_hubs(frames: int, expected: str) -> None:
    assert size_category(frames) == expected
