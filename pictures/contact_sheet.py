"""Frames of a dataset side by side with their labels, for a person to look at.

    python -m pictures.contact_sheet build/frames                 # writes build/frames.contact.png

Captions come from the schema alone: the classes, leaving out `none`, then the numbers that the frame shows.
A red corner marks a frame that shows something else than was asked for, where an annotator has read it.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from contract.cli import Parser
from contract.conditions import Schema, Value
from contract.dataset import Dataset, Record, read_dataset
from contract.errors import Refused, run_command
from contract.files import write_whole

FRAMES = 64
COLUMNS = 8
COMPRESS_LEVEL = 1
"""zlib level of the sheet: the default one takes five times as long."""

MIN_TILE = 160
"""Frames are enlarged by a whole factor to at least this many pixels, so that one can see an eyelid."""

MAX_TILE = 320
GAP = 8
FONT_SIZE = 13
LINES = 3
BACKGROUND, INK = (24, 26, 30), (232, 232, 228)
MARK = (226, 58, 46)
MARK_SHARE = 6
"""The marked corner's share of a frame's width: one in so many."""


def contact_path(folder: str | Path) -> Path:
    """Where the contact sheet of a dataset lies: beside the folder, since inside it would pass for a frame."""
    folder = Path(folder).resolve()
    return folder.with_name(folder.name + ".contact.png")


def write_contact_sheet(folder: str | Path) -> Path:
    """Draw up to 64 frames, spread evenly over the dataset, with captions; returns where it was written."""
    dataset = read_dataset(folder)
    records = _spread(dataset)
    if not records:
        raise Refused(f"{folder}: has no frames yet; generate some: python -m runtime.generate BUNDLE -o {folder}")
    content = io.BytesIO()
    sheet = draw_sheet([_frame(dataset, record) for record in records], records, dataset.description.schema)
    sheet.save(content, "png", compress_level=COMPRESS_LEVEL)
    path = contact_path(folder)
    write_whole(path, content.getvalue())
    return path


def draw_sheet(frames: Sequence[Image.Image], conditions: Sequence[Mapping[str, Value]], schema: Schema) -> Image.Image:
    """A grid of captioned frames as an RGB image; frames whose record says that they disagree are marked."""
    tile = _tile_size(frames[0].size)
    font = ImageFont.load_default(size=FONT_SIZE)
    line_height = FONT_SIZE + 4
    cell = (tile[0] + GAP, tile[1] + GAP + LINES * line_height + GAP // 2)
    columns = min(COLUMNS, math.ceil(math.sqrt(len(frames))))
    rows = math.ceil(len(frames) / columns)
    wrong = [condition.get("agrees") is False for condition in conditions]
    legend = (line_height + GAP) * any(wrong)
    sheet = Image.new("RGB", (columns * cell[0] + GAP, rows * cell[1] + GAP + legend), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (frame, condition) in enumerate(zip(frames, conditions, strict=True)):
        left, top = GAP + number % columns * cell[0], GAP + number // columns * cell[1]
        sheet.paste(frame.convert("RGB").resize(tile, Image.Resampling.LANCZOS), (left, top))
        if wrong[number]:
            side = tile[0] // MARK_SHARE
            draw.polygon([(left, top), (left + side, top), (left, top + side)], MARK)
        for row, text in enumerate(caption(condition, schema, lambda text: font.getlength(text) <= tile[0])):
            draw.text((left, top + tile[1] + 4 + row * line_height), text, INK, font)
    if legend:
        text = f"red corner: shows something else than was asked for ({sum(wrong)} of {len(wrong)})"
        draw.text((GAP, sheet.height - legend), text, MARK, font)
    return sheet


def caption(
    condition: Mapping[str, Value], schema: Schema, fits: Callable[[str], bool] = lambda text: len(text) <= 24
) -> list[str]:
    """Up to three lines: the classes, then as many numbers as fit (`gaze -20/5` for fields that share a first word)."""
    classes = [str(condition[f.name]) for f in schema.fields if f.is_class and condition[f.name] != "none"]
    lines = _wrap(classes, " \u00b7 ", fits)[:LINES]
    return lines + _wrap(_numbers(condition, schema), "  ", fits)[: LINES - len(lines)]


def _numbers(condition: Mapping[str, Value], schema: Schema) -> list[str]:
    hidden = schema.hidden(condition)
    shown = [field for field in schema.fields if not field.is_class and field.name not in hidden]
    groups = groupby(shown, key=lambda field: field.name.split("_")[0])
    return [word + " " + "/".join(_digits(condition[f.name], f.high - f.low) for f in group) for word, group in groups]


def _digits(value: Value, span: float) -> str:
    text = f"{float(value):.{0 if span >= 20 else 2}f}"
    return "0" if text == "-0" else text


def _wrap(words: Sequence[str], separator: str, fits: Callable[[str], bool]) -> list[str]:
    lines: list[str] = []
    for word in words:
        longer = lines[-1] + separator + word if lines else ""
        if lines and fits(longer):
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _tile_size(size: tuple[int, int]) -> tuple[int, int]:
    """Enlarged by a whole factor, or reduced where a frame is larger than a person needs."""
    width, height = size
    if max(size) > MAX_TILE:
        scale = MAX_TILE / max(size)
        return max(1, round(width * scale)), max(1, round(height * scale))
    factor = math.ceil(MIN_TILE / min(size)) if max(size) * math.ceil(MIN_TILE / min(size)) <= MAX_TILE else 1
    return width * factor, height * factor


def _spread(dataset: Dataset) -> list[Record]:
    count = dataset.description.count
    wanted = set(np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int).tolist())
    return list(dataset.records(wanted))


def _frame(dataset: Dataset, record: Record) -> Image.Image:
    path = dataset.frame_path(record)
    try:
        with Image.open(path) as image:
            image.load()
            frame: Image.Image = image.copy()
            return frame
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"{path}: not a readable frame ({error}); generate the dataset again") from error


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m pictures.contact_sheet",
        description="Draw the contact sheet of a dataset.",
        epilog="example:\n  python -m pictures.contact_sheet build/frames",
    )
    parser.add_argument("folder", metavar="DATASET", help="folder with dataset.json, metadata.jsonl and frames")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    print(write_contact_sheet(args.folder))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("pictures.contact_sheet", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
