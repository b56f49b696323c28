"""Pages of pictures: what every run draws for one condition and one noise, side by side.

    draw_page(["rendered", "ddim 50", "ddim 4"], captions, tiles)     # tiles [rows][columns] of uint8 [H, W, C]

A table says how much is lost; a page shows what.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from contract.files import write_whole
from contract.frames import Frames
from pictures.contact_sheet import BACKGROUND, FONT_SIZE, GAP, INK

TILE = 128
"""Frames are enlarged by a whole factor to at least this many pixels."""

CAPTION = 200
"""Pixels of width for what a row was asked for."""

LINE = FONT_SIZE + 4


def draw_page(
    titles: Sequence[str], captions: Sequence[Sequence[str]], tiles: Sequence[Sequence[Frames]]
) -> Image.Image:
    """A grid with a title above each column and a caption of several lines before each row."""
    font = ImageFont.load_default(size=FONT_SIZE)
    height, width = tiles[0][0].shape[:2]
    factor = max(1, math.ceil(TILE / min(height, width)))
    tile = (width * factor, height * factor)
    heads = [_lines(title, tile[0], font) for title in titles]
    top = GAP + LINE * max(len(lines) for lines in heads)
    row_height = max(tile[1], LINE * max(len(lines) for lines in captions)) + GAP
    size = (CAPTION + len(titles) * (tile[0] + GAP) + GAP, top + len(tiles) * row_height + GAP)
    page = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(page)
    for column, lines in enumerate(heads):
        _write(draw, (CAPTION + column * (tile[0] + GAP), GAP // 2), lines, font)
    for row, (frames, told) in enumerate(zip(tiles, captions, strict=True)):
        _write(draw, (GAP, top + row * row_height), told, font)
        for column, frame in enumerate(frames):
            place = (CAPTION + column * (tile[0] + GAP), top + row * row_height)
            page.paste(as_image(frame).resize(tile, Image.Resampling.LANCZOS), place)
    return page


def as_image(frame: Frames) -> Image.Image:
    """uint8 [H, W, C] as RGB; of one channel as grey, of more than three the first three."""
    return Image.fromarray(np.repeat(frame, 3, axis=2) if frame.shape[2] < 3 else frame[..., :3])


def write_image(path: Path, image: Image.Image) -> None:
    """Write a PNG whole or not at all."""
    content = io.BytesIO()
    image.save(content, "png")
    write_whole(path, content.getvalue())


def _lines(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _write(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    lines: Sequence[str],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    for number, line in enumerate(lines):
        draw.text((place[0], place[1] + number * LINE), line, INK, font)
