"""Images are read as a viewer shows them, whatever they are; what can't be shown is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.errors import Refused
from sources import images
from sources.images import read_picture, to_frames

RAMP = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
"""3 x 4 levels, no two rows or columns alike."""


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def frame_of(path: Path) -> np.ndarray:
    return to_frames([read_picture(path)])[0]


def test_a_plain_grey_image_is_what_it_is(tmp_path: Path) -> None:
    picture = read_picture(saved(tmp_path / "a.png", Image.fromarray(RAMP)))
    assert picture.notes == () and np.array_equal(picture.pixels, RAMP[:, :, None])


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [(2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (6, lambda a: np.rot90(a, -1)), (8, np.rot90)],
)
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int, turn: object) -> None:
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP), exif=exif)
    assert np.array_equal(frame_of(path)[:, :, 0], turn(RAMP))  # type: ignore[operator]
    assert read_picture(path).notes == ("rotated as EXIF says",)


@pytest.mark.parametrize(("bits", "peak"), [(10, 1023), (12, 4095), (16, 65535)])
def test_near_infrared_of_any_depth_keeps_its_contrast(tmp_path: Path, bits: int, peak: int) -> None:
    levels = np.array([[0, peak // 4], [peak // 2, peak]], dtype=np.uint16)
    found = frame_of(saved(tmp_path / "a.png", Image.fromarray(levels)))[:, :, 0]
    assert np.array_equal(found, np.rint(levels / peak * 255).astype(np.uint8)), f"{bits} bits, neither white nor black"


def test_all_images_share_one_scale(tmp_path: Path) -> None:
    bright = read_picture(saved(tmp_path / "a.png", Image.fromarray(np.full((2, 2), 4000, np.uint16))))
    dark = read_picture(saved(tmp_path / "b.png", Image.fromarray(np.full((2, 2), 500, np.uint16))))
    assert to_frames([bright, dark])[:, 0, 0, 0].tolist() == [249, 31], "of 4095, and not of its own largest value"


@pytest.mark.parametrize("peak", [1.0, 255.0, 4095.0])
def test_floating_point_is_a_share_or_a_level(tmp_path: Path, peak: float) -> None:
    levels = np.array([[0.0, 0.5], [0.25, 1.0]], np.float32) * peak
    found = frame_of(saved(tmp_path / "a.tiff", Image.fromarray(levels)))[:, :, 0]
    assert np.abs(found.astype(int) - [[0, 128], [64, 255]]).max() <= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0, 1e9])
def test_floating_point_without_a_meaning_is_refused(tmp_path: Path, bad: float) -> None:
    levels = np.full((2, 2), 0.5, np.float32)
    levels[0, 1] = bad
    with pytest.raises(Refused, match=r"a\.tiff: not a readable image"):
        read_picture(saved(tmp_path / "a.tiff", Image.fromarray(levels)))


def test_hidden_colours_stay_hidden(tmp_path: Path) -> None:
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0] = [[200, 0, 0, 255], [200, 0, 0, 0], [0, 0, 0, 128]]
    found = frame_of(saved(tmp_path / "a.png", Image.fromarray(pixels)))
    assert found[0, 0].tolist() == [200, 0, 0] and found[0, 1].tolist() == [255, 255, 255]
    assert abs(int(found[0, 2, 0]) - 127) <= 1, "half of it shows"


def test_transparent_palettes_and_greys(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    found = frame_of(saved(tmp_path / "a.png", palette, transparency=0))
    assert found[0].tolist() == [[255, 255, 255], [200, 100, 50]]
    grey = Image.fromarray(np.array([[[90, 255], [90, 0]]], np.uint8))
    assert frame_of(saved(tmp_path / "b.png", grey))[0].tolist() == [[90], [255]]


@pytest.mark.parametrize(("mode", "colour"), [("1", 1), ("CMYK", (0, 0, 0, 0)), ("LAB", (255, 128, 128))])
def test_other_modes_become_grey_or_colour(tmp_path: Path, mode: str, colour: object) -> None:
    found = frame_of(saved(tmp_path / "a.tiff", Image.new(mode, (2, 2), colour)))  # type: ignore[arg-type]
    assert found.shape == (2, 2, 1 if mode == "1" else 3) and found.min() >= 250, "white in each of them"


def test_grey_joins_colour_and_sizes_must_agree(tmp_path: Path) -> None:
    grey = read_picture(saved(tmp_path / "a.png", Image.fromarray(RAMP)))
    colour = read_picture(saved(tmp_path / "b.png", Image.new("RGB", (4, 3), "red")))
    assert to_frames([grey, colour]).shape == (2, 3, 4, 3)
    other = read_picture(saved(tmp_path / "c.png", Image.new("L", (5, 3))))
    with pytest.raises(Refused, match="images of 2 sizes, 2 of 4 x 3 and 1 of 5 x 3"):
        to_frames([grey, colour, other])


def test_damage_size_and_absence_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(RAMP))
    content = path.read_bytes()
    for damaged in (b"", content[:40], b"GIF89a", content[:-30]):
        path.write_bytes(damaged)
        with pytest.raises(Refused, match=r"a\.png: not a readable image"):
            read_picture(path)
    with pytest.raises(Refused, match=r"b\.png: no such image"):
        read_picture(tmp_path / "b.png")
    path.write_bytes(content)
    monkeypatch.setattr(images, "MAX_PIXELS", 11)
    with pytest.raises(Refused, match="4 x 3 pixels; expected up to 11"):
        read_picture(path)
