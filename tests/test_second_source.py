"""A second source goes all the way: train, annotate, distil, export, generate. No code names a field or an image shape.

Its schema has none of the project's fields, its frames are 16 x 24 pixels of one channel.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from export import __main__ as export
from models.checkpoint import read_checkpoint
from runtime import generate
from sources.shards import read_shards
from tests.seat_source import SEAT, seat_source
from tests.sources.folders import write_shards
from training import distill, train, train_annotator

FRAMES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, and a run of every training command on it."""
    folder = tmp_path_factory.mktemp("seats")
    data = write_shards(seat_source(96), folder / "data")
    held_out = write_shards(seat_source(64, seed=1), folder / "held-out")
    small = ["--batch", "32", "--widths", "32", "--device", "cpu"]
    assert train.main([str(data), "-o", str(folder / "run"), "--samples", "640", "--blocks", "1", *small]) == 0
    teacher = folder / "run" / "checkpoint.pt"
    annotate = [str(data), "--held-out", str(held_out), "-o", str(folder / "annotator"), "--samples", "1920", *small]
    assert train_annotator.main([*annotate, "--into", str(teacher)]) == 0
    students = ["-o", str(folder / "students"), "--start", "4", "--end", "2", "--samples", "320", "--batch", "32"]
    critic = ["--critic", str(folder / "annotator" / "annotator.pt"), "--device", "cpu"]
    assert distill.main([str(teacher), str(data), *students, *critic]) == 0
    return folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    written = folder / "bundle"
    checkpoint = str(folder / "students" / "student-2.pt")
    assert export.main([checkpoint, "-o", str(written), "--precision", "fp32", "--verify", "quick"]) == 0
    return written


def test_every_checkpoint_knows_the_source(folder: Path) -> None:
    for name in ("run/checkpoint.pt", "students/student-2.pt"):
        checkpoint = read_checkpoint(folder / name)
        assert checkpoint.schema == SEAT and checkpoint.config.image == (1, 16, 24)
        assert checkpoint.annotator is not None
        assert checkpoint.annotator.config.landmarks == ("shoulder_left", "shoulder_right")
        assert set(checkpoint.annotator.held_out["mae"]) == {"lamp", "lean", "weight"}
    with Image.open(folder / "students" / "student-2.png") as grid:
        assert grid.width > grid.height > 4 * 16


def test_frames_and_labels_are_generated(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "frames"
    asked = [str(bundle), "-o", str(out), "-n", str(FRAMES), "--set", "occupant=child", "--backend", "cpu"]
    assert generate.main(asked) == 0
    records = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    assert len(records) == FRAMES and {record["occupant"] for record in records} == {"child"}
    assert set(SEAT.names) <= set(records[0]) and set(records[0]["measured"]) == set(SEAT.names)
    with Image.open(out / records[0]["file_name"]) as image:
        assert image.size == (24, 16) and image.mode == "L"


def test_the_data_is_what_was_written(folder: Path) -> None:
    assert read_shards(folder / "data").fingerprint == seat_source(96).fingerprint
