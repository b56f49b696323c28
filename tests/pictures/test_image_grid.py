"""One grid for every page: any shape of frame, titles, captions, and marks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pictures.image_grid import (
    GAP,
    MARK,
    MAX_TILE,
    ROW_TITLE_WIDTH,
    Tile,
    draw_grid,
    draw_page,
    in_rows,
    tile_size,
    write_image,
)

RED = (255, 0, 0)


def frame(height: int, width: int, colour: tuple[int, ...] = RED) -> np.ndarray:
    return np.full((height, width, len(colour)), colour, np.uint8)


def count(image: object, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(image) == colour).all(axis=2).sum())


@pytest.mark.parametrize(
    ("height", "width", "shown"),
    [(64, 64, (192, 192)), (40, 80, (320, 160)), (100, 50, (150, 300)), (640, 320, (160, 320)), (1, 640, (320, 1))],
)
def test_frames_are_enlarged_by_a_whole_factor_or_reduced(height: int, width: int, shown: tuple[int, int]) -> None:
    assert tile_size(frame(height, width)) == shown and max(shown) <= MAX_TILE
    assert count(draw_grid([[Tile(frame(height, width))]]), RED) == shown[0] * shown[1]


@pytest.mark.parametrize(
    ("colour", "shown"),
    [((90,), (90, 90, 90)), ((90, 7), (90, 90, 90)), (RED, RED), ((255, 0, 0, 9), RED)],
    ids=["grey", "grey and alpha", "colour", "colour and alpha"],
)
def test_any_number_of_channels_is_drawn(colour: tuple[int, ...], shown: tuple[int, int, int]) -> None:
    assert count(draw_grid([[Tile(frame(20, 40, colour))]]), shown) == 320 * 160


def test_frames_keep_their_size_where_they_may_be_small() -> None:
    image = draw_grid(in_rows([Tile(frame(10, 12))] * 5, columns=2), min_tile=1)
    assert count(image, RED) == 5 * 120
    assert image.size == (2 * (12 + GAP) + GAP, 3 * (10 + GAP) + GAP)


def test_titles_captions_and_marks_have_their_places() -> None:
    tiles = [[Tile(frame(160, 160)), Tile(frame(160, 160), ["caption"], marked=True)]] * 2
    bare, full = (
        draw_grid([[Tile(frame(160, 160))] * 2] * 2),
        draw_grid(tiles, ["a b", "c"], [["x", "y"], ["z"]], "legend"),
    )
    assert full.width == bare.width + ROW_TITLE_WIDTH and full.height > bare.height
    pixels = np.asarray(full)
    text = (pixels > 150).all(axis=2)
    assert text[:, :ROW_TITLE_WIDTH].any() and text[: GAP + 13, ROW_TITLE_WIDTH:].any()
    corner = count(draw_grid([[tiles[0][1]]]), MARK)
    assert 2 * corner < count(full, MARK) < 3 * corner, "two corners and the legend"


def test_a_page_is_a_grid_of_frames_alone() -> None:
    page = draw_page(["one", "two"], [["row"]], [[frame(160, 160), frame(160, 160)]])
    assert count(page, RED) == 2 * 160 * 160


def test_a_grid_without_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="without images"):
        draw_grid([])


@pytest.mark.parametrize(("name", "kind"), [("page.png", "PNG"), ("page.jpg", "JPEG"), ("page.jpeg", "JPEG")])
def test_the_name_says_which_file_is_written(tmp_path: Path, name: str, kind: str) -> None:
    write_image(tmp_path / name, draw_grid([[Tile(np.zeros((8, 8, 3), np.uint8))]]))
    with Image.open(tmp_path / name) as image:
        assert image.format == kind
