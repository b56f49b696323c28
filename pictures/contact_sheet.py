"""Frames of a dataset side by side with their labels, for a person to look at.

    python -m pictures build/frames                 # writes build/frames.contact.png

Captions come from the schema alone: the classes, leaving out `none`, then the numbers that the frame shows.
A red corner marks a frame that shows something else than requested, where an annotator has read it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from contract.conditions import Schema
from contract.dataset import Dataset, Record, read_dataset
from contract.errors import Refused
from contract.field import Value
from pictures.image_grid import MAX_TILE, Frame, Tile, draw_grid, fits, in_rows, tile_size, wrap, write_image

FRAMES = 64
COLUMNS = 8
LINES = 3


class ContactSheet:
    """Up to 64 frames, spread evenly over a dataset of `count`; `add` takes those that belong on it."""

    def __init__(self, schema: Schema, count: int) -> None:
        self._schema = schema
        self._wanted = np.unique(np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int)).tolist()
        self._shown: dict[int, tuple[Frame, Record]] = {}

    @property
    def missing(self) -> set[int]:
        """Places of the frames that it has still to be given."""
        return set(self._wanted) - set(self._shown)

    def add(self, index: int, frame: Frame, record: Record) -> None:
        """Keep the frame at place `index`, uint8 [H, W, C], with its record where the sheet shows it."""
        if index in self._wanted:
            self._shown[index] = _reduced(frame), record

    def add_missing(self, dataset: Dataset) -> None:
        """Read the frames that are missing from a dataset; Refused where one can't be read."""
        places = self.missing  # in a merged dataset each part's index begins anew
        for place, record in zip(sorted(places), dataset.records(places), strict=False):
            self.add(place, _read_frame(dataset, record), record)

    def write(self, folder: str | Path) -> Path:
        """Write the sheet beside the dataset's folder, and return its path."""
        if not self._shown:
            raise Refused(f"{folder}: has no frames yet; generate some: python -m runtime.generate BUNDLE -o {folder}")
        frames, records = zip(*(self._shown[index] for index in sorted(self._shown)), strict=True)
        write_image(contact_path(folder), draw_sheet(frames, records, self._schema))
        return contact_path(folder)


def contact_path(folder: str | Path) -> Path:
    """Where the contact sheet of a dataset goes: beside the folder, since inside it would pass for a frame."""
    folder = Path(folder).resolve()
    return folder.with_name(folder.name + ".contact.png")


def write_contact_sheet(folder: str | Path) -> Path:
    """Draw the contact sheet of a dataset on disk; returns its path."""
    dataset = read_dataset(folder)
    sheet = ContactSheet(dataset.description.schema, dataset.description.count)
    sheet.add_missing(dataset)
    return sheet.write(folder)


def draw_sheet(frames: Sequence[Frame], records: Sequence[Mapping[str, Value]], schema: Schema) -> Image.Image:
    """A grid of captioned frames as an RGB image; frames whose record says that they disagree are marked."""
    fitting = fits(tile_size(frames[0])[0])
    tiles = [
        Tile(frame, caption(record, schema, fitting), marked=record.get("agrees") is False)
        for frame, record in zip(frames, records, strict=True)
    ]
    marked = sum(tile.marked for tile in tiles)
    legend = f"red corner: shows something else than requested ({marked} of {len(tiles)})" if marked else ""
    return draw_grid(in_rows(tiles, min(COLUMNS, math.ceil(math.sqrt(len(tiles))))), legend=legend)


def caption(
    condition: Mapping[str, Value], schema: Schema, fitting: Callable[[str], bool] = lambda text: len(text) <= 24
) -> list[str]:
    """Up to three lines: the classes, then as many numbers as fit (`gaze -20/5` for fields that share a first word)."""
    classes = [str(condition[f.name]) for f in schema.fields if f.is_class and condition[f.name] != "none"]
    lines = wrap(classes, " \u00b7 ", fitting)[:LINES]
    return lines + wrap(_numbers(condition, schema), "  ", fitting)[: LINES - len(lines)]


def _numbers(condition: Mapping[str, Value], schema: Schema) -> list[str]:
    hidden = schema.hidden(condition)
    shown = [field for field in schema.fields if not field.is_class and field.name not in hidden]
    groups = groupby(shown, key=lambda field: field.name.split("_")[0])
    return [word + " " + "/".join(_digits(condition[f.name], f.high - f.low) for f in group) for word, group in groups]


def _digits(value: Value, span: float) -> str:
    text = f"{float(value):.{0 if span >= 20 else 2}f}"
    return "0" if text == "-0" else text


def _reduced(frame: Frame) -> Frame:
    """No larger than the sheet shows it, so that memory holds 64 of any size."""
    if max(frame.shape[:2]) <= MAX_TILE:
        kept: Frame = frame.copy()
        return kept
    pixels = Image.fromarray(frame.squeeze(2) if frame.shape[2] == 1 else frame)
    return _with_channels(pixels.resize(tile_size(frame), Image.Resampling.LANCZOS))


def _read_frame(dataset: Dataset, record: Record) -> Frame:
    path = dataset.frame_path(record)
    try:
        with Image.open(path) as image:
            return _with_channels(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"{path}: not a readable frame ({error}); generate the dataset again") from error


def _with_channels(image: Image.Image) -> Frame:
    pixels: Frame = np.asarray(image, np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
