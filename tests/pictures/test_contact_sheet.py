"""The contact sheet: legible captions out of any schema, frames enlarged, at most 64 of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.field import Value
from contract.schemas import CABIN, DOCUMENT
from pictures.__main__ import main
from pictures.contact_sheet import caption, draw_sheet, write_contact_sheet
from runtime.generate import main as generate

CONDITION: dict[str, Value] = {
    "sensor": "rgb",
    "fatigue_level": "severe",
    "distraction_type": "none",
    "lighting": "night",
    "accessory": "none",
    "gender": "female",
    "age_group": "senior",
    "headwear": "hat",
    "eye_openness": 0.125,
    "mouth_openness": 0.3,
    "gaze_yaw": -20.4,
    "gaze_pitch": 5.0,
    "head_yaw": -0.2,
    "head_pitch": 4.0,
    "skin_tone": 0.5,
}


def test_a_caption_tells_classes_and_numbers() -> None:
    lines = caption(CONDITION | {"eye_openness": 0.5}, CABIN)
    assert lines == ["rgb · severe · night", "female · senior · hat", "eye 0.50  mouth 0.30"]


def test_a_caption_leaves_out_what_the_frame_hides() -> None:
    dark = caption(CONDITION | {"accessory": "sunglasses"}, CABIN, lambda text: len(text) <= 60)
    assert dark == ["rgb · severe · night · sunglasses · female · senior · hat", "mouth 0.30  head 0/4  skin 0.50"]


def test_a_schema_without_numbers_has_a_caption_too() -> None:
    condition = {name: CONDITION[name] for name in DOCUMENT.names}
    assert caption(condition, DOCUMENT) == ["severe · night"]


@pytest.mark.parametrize(("size", "shown"), [(16, 160), (64, 192), (128, 256), (256, 256), (512, 320)])
def test_frames_are_enlarged_by_a_whole_factor(size: int, shown: int) -> None:
    frame = np.full((size, size, 3), (255, 0, 0), np.uint8)
    sheet = np.asarray(draw_sheet([frame], [CONDITION], CABIN))
    assert (sheet == (255, 0, 0)).all(axis=2).sum() == shown * shown


def test_a_caption_stays_inside_its_cell() -> None:
    frames = [np.full((64, 64, 3), (255, 0, 0), np.uint8)] * 2
    sheet = np.asarray(draw_sheet(frames, [CONDITION] * 2, CABIN)).astype(int)
    text = np.asarray((sheet > 150).all(axis=2))
    half = sheet.shape[1] // 2
    assert text[:, :half].any() and np.array_equal(text[:, 8 : half - 4], text[:, half + 4 : -8])


def test_the_sheet_lies_beside_the_folder_and_is_made_again_on_request(bundle: Path, tmp_path: Path) -> None:
    assert generate([str(bundle), "-o", str(tmp_path / "d"), "-n", "70", "--backend", "cpu"]) == 0
    drawn = (tmp_path / "d.contact.png").read_bytes()
    with Image.open(tmp_path / "d.contact.png") as sheet:
        assert sheet.width > 8 * 128 and sheet.height > 8 * 128
    (tmp_path / "d.contact.png").unlink()
    assert write_contact_sheet(tmp_path / "d") == (tmp_path / "d.contact.png").resolve()
    assert (tmp_path / "d.contact.png").read_bytes() == drawn


def test_an_unreadable_frame_is_named(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate([str(bundle), "-o", str(tmp_path / "d"), "-n", "2", "--backend", "cpu"]) == 0
    (tmp_path / "d" / "frames" / "00000" / "00000001.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    capsys.readouterr()
    assert main([str(tmp_path / "d")]) == 1
    error = capsys.readouterr().err
    assert "00000001.png" in error and error.count("\n") == 1
