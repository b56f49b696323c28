"""Frames that aren't square, and of one channel or four, on their whole way: engine, files, sheet and raw stream."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.dataset import read_dataset
from contract.frames import ImageShape
from contract.schemas import CABIN
from runtime import Generator
from runtime.generate import main
from runtime.verify import main as verify
from tests.fake_bundle import expected_frames, write_fake_bundle

ONE_LEVEL = 1
"""A sum in another order may round a pixel to the neighbouring level of 255."""

SHAPES = {
    "near-infrared": (ImageShape(1, 12, 20), "L", "gray"),
    "colour": (ImageShape(3, 20, 12), "RGB", "rgb24"),
    "with alpha": (ImageShape(4, 12, 20), "RGBA", "rgba"),
}


@pytest.fixture(scope="module", params=SHAPES.values(), ids=SHAPES)
def shaped(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, ImageShape, str, str]:
    image, mode, pixels = request.param
    folder = tmp_path_factory.mktemp("shaped") / "bundle"
    write_fake_bundle(folder, image=image, annotator=True)
    return folder, image, mode, pixels


def test_the_files_hold_the_frames(shaped: tuple[Path, ImageShape, str, str], tmp_path: Path) -> None:
    bundle, image, mode, _ = shaped
    assert main([str(bundle), "-o", str(tmp_path / "d"), "-n", "5", "--seed", "3", "--backend", "cpu"]) == 0
    dataset = read_dataset(tmp_path / "d")
    records = list(dataset.records())
    expected = expected_frames(CABIN.encode([dataset.condition(r) for r in records]), seed=3, image=image)
    for record, frame in zip(records, expected, strict=True):
        with Image.open(dataset.frame_path(record)) as file:
            assert file.mode == mode and file.size == (image.width, image.height)
            pixels = np.asarray(file).reshape(frame.shape)
        assert np.abs(pixels.astype(int) - frame).max() <= ONE_LEVEL
    with Image.open(tmp_path / "d.contact.png") as sheet:
        assert sheet.mode == "RGB" and sheet.height > 2 * 160


def test_the_raw_stream_holds_the_frames(
    shaped: tuple[Path, ImageShape, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, image, _, pixels = shaped
    target, labels = tmp_path / "raw", tmp_path / "labels"
    options = ["-n", "5", "--seed", "3", "--backend", "cpu"]
    assert main([str(bundle), "--raw", str(target), "--labels", str(labels), *options]) == 0
    assert f"raw frames {image.width}x{image.height}, pix_fmt {pixels}, " in capsys.readouterr().err
    entries = [json.loads(line) for line in labels.read_text().splitlines()]
    conditions = [{name: entry[name] for name in CABIN.names} for entry in entries]
    with Generator.open(bundle, "cpu") as generator:
        np.testing.assert_array_equal(np.fromfile(target, np.uint8), generator.generate(conditions, seed=3).reshape(-1))


def test_the_bundle_is_verified(shaped: tuple[Path, ImageShape, str, str]) -> None:
    assert verify([str(shaped[0])]) == 0
