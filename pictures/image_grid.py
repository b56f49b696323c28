"""Grids of captioned images: contact sheets, audit pages and sample grids are all drawn here.

    draw_grid([[Tile(frame, ["severe", "night"]), Tile(other)]])              # one row of two frames
    draw_grid(rows, column_titles=["rendered", "4 steps"], row_titles=[["night"], ["day"]])
    draw_grid(in_rows(tiles, columns=8))
    draw_page(column_titles, row_titles, frames)                              # frames alone, [rows][columns]

Frames are uint8 [H, W, C] of any size; one channel is drawn as grey, of more than three the first three.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from contract.files import write_whole
from pictures.font import caption_font, drawable

Frame = npt.NDArray[np.uint8]
"""uint8 [H, W, C]"""

MIN_TILE = 160
"""Frames are enlarged by a whole factor to at least this many pixels, so that one can see an eyelid."""

MAX_TILE = 320
"""Larger frames are reduced."""

GAP = 8
FONT_SIZE = 13
LINE = FONT_SIZE + 4
BACKGROUND, INK, MARK = (24, 26, 30), (232, 232, 228), (226, 58, 46)
MARK_SHARE = 6
"""A marked corner covers one in so many pixels of a tile's width."""

ROW_TITLE_WIDTH = 200
COMPRESS_LEVEL = 1
"""zlib level of the file: the default level takes five times as long."""
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Tile:
    """One image of a grid."""

    frame: Frame
    caption: Sequence[str] = ()
    """Lines below the image, as wide as it at most."""

    marked: bool = False
    """Whether its corner is red."""


def draw_grid(
    rows: Sequence[Sequence[Tile]],
    column_titles: Sequence[str] = (),
    row_titles: Sequence[Sequence[str]] = (),
    legend: str = "",
    min_tile: int = MIN_TILE,
) -> Image.Image:
    """Draw rows of tiles as an RGB image.

    All frames have one shape. A title stands above each column, wrapped to its width; the lines of a row title stand
    left of its row; `legend` stands below, in the colour of the marks. With `min_tile` 1 frames keep their size, up to
    MAX_TILE. Raises ValueError where there is nothing to draw.
    """
    if not rows or not rows[0]:
        raise ValueError("a grid without images")
    tile = tile_size(rows[0][0].frame, min_tile)
    heads = [wrap(title.split(), " ", fits(tile[0])) for title in column_titles]
    left = GAP + (ROW_TITLE_WIDTH if row_titles else 0)
    top = GAP + (LINE * max(map(len, heads), default=0))
    captions = max(len(entry.caption) for row in rows for entry in row)
    below = LINE * captions + GAP // 2 if captions else 0
    row_height = max(tile[1] + below, LINE * max(map(len, row_titles), default=0)) + GAP
    width = left + max(map(len, rows)) * (tile[0] + GAP)
    image = Image.new("RGB", (width, top + len(rows) * row_height + (LINE + GAP) * bool(legend)), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for column, lines in enumerate(heads):
        _write(draw, (left + column * (tile[0] + GAP), GAP // 2), lines)
    for number, title in enumerate(row_titles):
        _write(draw, (GAP, top + number * row_height), title)
    for number, row in enumerate(rows):
        for column, entry in enumerate(row):
            _draw_tile(image, draw, (left + column * (tile[0] + GAP), top + number * row_height), entry, tile)
    if legend:
        _write(draw, (GAP, image.height - LINE - GAP), [legend], MARK)
    return image


def draw_page(
    column_titles: Sequence[str], row_titles: Sequence[Sequence[str]], frames: Sequence[Sequence[Frame]]
) -> Image.Image:
    """Frames [rows][columns] in a grid with a title above each column and a few lines beside each row."""
    return draw_grid([[Tile(frame) for frame in row] for row in frames], column_titles, row_titles)


def in_rows(tiles: Sequence[Tile], columns: int) -> list[Sequence[Tile]]:
    """Tiles in rows of `columns`; the last row may be shorter."""
    return [tiles[first : first + columns] for first in range(0, len(tiles), columns)]


def tile_size(frame: Frame, least: int = MIN_TILE) -> tuple[int, int]:
    """Width and height that a frame is drawn at: enlarged by a whole factor, or reduced to MAX_TILE."""
    height, width = frame.shape[:2]
    largest = max(width, height)
    if largest > MAX_TILE:
        return max(1, round(width * MAX_TILE / largest)), max(1, round(height * MAX_TILE / largest))
    factor = max(1, min(math.ceil(least / min(width, height)), MAX_TILE // largest))
    return width * factor, height * factor


def fits(width: int) -> Callable[[str], bool]:
    """Whether a line of text is at most `width` pixels wide."""
    font = caption_font(FONT_SIZE)
    return lambda text: font.getlength(drawable(text, font)) <= width


def wrap(words: Sequence[str], separator: str, fitting: Callable[[str], bool]) -> list[str]:
    """Words in lines as long as fit; a word that is too long has a line of its own."""
    lines: list[str] = []
    for word in words:
        longer = lines[-1] + separator + word if lines else ""
        if lines and fitting(longer):
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def as_image(frame: Frame) -> Image.Image:
    """A frame uint8 [H, W, C] as RGB: one or two channels as grey, of more than three the first three."""
    return Image.fromarray(np.repeat(frame[..., :1], 3, axis=2) if frame.shape[2] < 3 else frame[..., :3])


def write_image(path: Path, image: Image.Image) -> None:
    """Write a PNG, or a JPEG where the name says so, whole or not at all."""
    content = io.BytesIO()
    if path.suffix in (".jpg", ".jpeg"):
        image.save(content, "jpeg", quality=JPEG_QUALITY)
    else:
        image.save(content, "png", compress_level=COMPRESS_LEVEL)
    write_whole(path, content.getvalue())


def _draw_tile(
    image: Image.Image, draw: ImageDraw.ImageDraw, place: tuple[int, int], entry: Tile, size: tuple[int, int]
) -> None:
    left, top = place
    image.paste(as_image(entry.frame).resize(size, Image.Resampling.LANCZOS), place)
    if entry.marked:
        side = max(size[0] // MARK_SHARE, 1)
        draw.polygon([(left, top), (left + side, top), (left, top + side)], MARK)
    _write(draw, (left, top + size[1] + GAP // 2), entry.caption)


def _write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], lines: Sequence[str], color: tuple[int, int, int] = INK
) -> None:
    font = caption_font(FONT_SIZE)
    for number, line in enumerate(lines):
        draw.text((place[0], place[1] + number * LINE), drawable(line, font), color, font)
