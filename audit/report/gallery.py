"""The frames of the gallery, and how often any two conditions meet.

    gallery = collect(dataset, 300)
    gallery.cards[0].image                    # "data:image/webp;base64,…"
    gallery.together["lighting", "gender"]    # [[frames of day and male, …], …]

Frames are spread evenly over the dataset. Their pictures are copied into the page, smaller than the files and
with loss; the counts are over all records.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from contract.conditions import Schema
from contract.dataset import Dataset, Record
from contract.errors import Refused
from contract.field import Field, Value

LARGEST = 192
"""Pixels of a picture's longer side; larger frames are reduced."""

QUALITY = 88
"""Of WebP: about 1.5 KB for 64 x 64 pixels."""

PLAIN = "none"
"""A class that a caption leaves out."""


@dataclass(frozen=True)
class Card:
    """One frame in the gallery."""

    index: int
    name: str
    image: str
    """A data URI."""

    caption: str
    asked: Mapping[str, Value]
    read: Mapping[str, Value | None] | None
    """What the annotator read, None without one."""

    agrees: bool | None
    wrong: tuple[str, ...]
    """Class fields that show something else than was asked for."""

    def to_dict(self) -> dict[str, Any]:
        """What the page's script needs of it."""
        rounded = {key: round(value, 3) if isinstance(value, float) else value for key, value in self.asked.items()}
        return {"name": self.name, "asked": rounded, "read": self.read, "agrees": self.agrees}


@dataclass
class Gallery:
    """Cards, and counts over all records."""

    schema: Schema
    cards: list[Card] = field(default_factory=list)
    pairs: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)

    @property
    def classes(self) -> list[Field]:
        return [each for each in self.schema.fields if each.is_class]

    @property
    def together(self) -> dict[tuple[str, str], list[list[int]]]:
        """For every two class fields the frames of each pair of values, the first field down."""
        return {
            (a.name, b.name): [[self.pairs[a.name, x, b.name, y] for y in b.values] for x in a.values]
            for a, b in combinations(self.classes, 2)
        }

    def count(self, record: Record) -> None:
        names = [each.name for each in self.classes]
        self.pairs.update((a, str(record[a]), b, str(record[b])) for a, b in combinations(names, 2))


def collect(dataset: Dataset, limit: int) -> Gallery:
    """Up to `limit` frames; Refused where one can't be read."""
    gallery = Gallery(dataset.description.schema)
    count = dataset.description.count
    chosen = set(np.linspace(0, count - 1, min(limit, count)).round().astype(int).tolist())
    for place, record in enumerate(dataset.records()):
        gallery.count(record)
        if place in chosen:
            gallery.cards.append(_card(dataset, record))
    if not gallery.cards:
        raise Refused(f"{dataset.folder}: has no frames; generate some: python -m runtime.generate BUNDLE -o FOLDER")
    return gallery


def picture(path: Path) -> str:
    """An image file as a data URI of a WebP that is at most LARGEST pixels wide and high."""
    content = io.BytesIO()
    try:
        with Image.open(path) as image:
            reduced = image.convert("RGB")
            reduced.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
            reduced.save(content, "webp", quality=QUALITY)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"{path}: not a readable frame ({error}); generate the dataset again") from error
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()


def _card(dataset: Dataset, record: Record) -> Card:
    schema = dataset.description.schema
    asked, read = dataset.condition(record), record.get("measured")
    classes = [each.name for each in schema.fields if each.is_class]
    return Card(
        index=record["index"],
        name=str(record["file_name"]),
        image=picture(dataset.frame_path(record)),
        caption=" · ".join(str(asked[name]) for name in classes if asked[name] != PLAIN),
        asked=asked,
        read=read,
        agrees=record.get("agrees"),
        wrong=tuple(_wrong(classes, asked, read or {})),
    )


def _wrong(classes: list[str], asked: Mapping[str, Value], read: Mapping[str, Value | None]) -> Iterator[str]:
    return (name for name in classes if read.get(name) is not None and read[name] != asked[name])
