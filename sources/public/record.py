"""One record form for the recordings that teams have on disk, whatever their layout.

    for sample in read_layout(folder, LAYOUTS["state-farm"], CABIN): sample.file, sample.driver, sample.labels

A record is an image, or a span of a video's frames that share their labels. The driver is mandatory: without it no
split can be trusted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from contract.conditions import Schema
from contract.errors import Refused
from contract.field import Condition
from sources.public.mapping import LabelMapping, Meaning
from sources.splits import check_splits

IMAGES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
VIDEOS = frozenset({".avi", ".mp4", ".mov", ".m4v", ".mkv", ".wmv"})
"""Endings of media files, in lower case; recordings come with any case."""


@dataclass(frozen=True)
class Sample:
    """An image or a span of a video, with its labels as they are and on the schema."""

    file: Path
    driver: str
    """Key of the person: the same for all recordings of them, and of nobody else."""

    raw: Mapping[str, str] = field(default_factory=dict)
    """Labels of this very image or span, in the data set's own words."""

    clip: Mapping[str, str] = field(default_factory=dict)
    """Labels of the whole clip (a KSS class, a behaviour that was asked for): never those of each frame."""

    span: tuple[int, int] | None = None
    """First frame, and the one after the last, of a video; None for an image, or a video of unknown length."""

    split: str = ""
    """The data set's own split, where it has one."""

    labels: Condition = field(default_factory=dict)
    """What the labels mean on the schema; partial."""

    @property
    def frames(self) -> int:
        """How many frames it stands for; 1 for a video of unknown length."""
        return self.span[1] - self.span[0] if self.span else 1

    def numbers(self, every: int) -> range:
        """Every `every`-th frame number of the video that lies in its span; none where it has no span."""
        if not self.span:
            return range(0)
        first = -(-self.span[0] // every) * every  # of the video: short spans would all give their first frame
        return range(first, self.span[1], every)


@dataclass(frozen=True)
class Layout:
    """How one public data set lies on disk."""

    name: str
    title: str
    sources: tuple[str, ...]
    """Where the layout is described in public, or "unverified: …" for what isn't."""

    mapping: LabelMapping
    recognises: Callable[[Path], bool]
    """Whether a folder looks like it, by a glance at names."""

    read: Callable[[Path], Iterator[Sample]]
    """Every sample of a folder, without `labels`; Refused, naming the file, for anything unexpected."""

    cautions: tuple[str, ...] = ()
    """What a user of the data must know."""


def read_layout(folder: Path, layout: Layout, schema: Schema, mapping: LabelMapping | None = None) -> list[Sample]:
    """Every sample with its labels on the schema; `mapping` replaces the layout's own.

    Refused for an empty folder, for damage, for a driver in two splits, and where two labels contradict each other.
    """
    if not folder.exists():
        raise Refused(f"{folder}: no such file or folder; expected {layout.title}")
    meaning = Meaning(mapping or layout.mapping, schema, strict=mapping is not None)
    samples = []
    for sample in layout.read(folder):
        if not sample.driver:
            raise Refused(f"{sample.file}: no driver; every record needs the key of the person that it shows")
        samples.append(replace(sample, labels=meaning.labels(sample.raw, str(sample.file))))
    if not samples:
        raise Refused(f"{folder}: no record; expected {layout.title}")
    check_splits((sample.driver, sample.split, str(sample.file)) for sample in samples)
    return samples


def files_of(folder: Path, endings: frozenset[str]) -> Iterator[Path]:
    """Files below a folder with one of these endings in any case, in order of their paths; hidden ones are left out.

    Archives made on a Mac hold `._name.jpg` and `__MACOSX` beside the real files.
    """
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in endings:
                yield Path(place) / name


def named_like(name: re.Pattern[str], endings: frozenset[str]) -> Callable[[Path], bool]:
    """Whether the first file below a folder is named like that, its ending aside."""

    def recognises(folder: Path) -> bool:
        first = next(files_of(folder, endings), None)
        return first is not None and name.fullmatch(first.stem) is not None

    return recognises


def text_of(path: Path, most: int = 1 << 28) -> str:
    """A text file, BOM removed; Refused where it is missing, larger than `most` bytes or isn't UTF-8."""
    try:
        if path.stat().st_size > most:
            raise Refused(f"{path}: {path.stat().st_size} bytes; expected up to {most}")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise Refused(f"{path}: missing; unpack the data set again") from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not UTF-8 text; unpack the data set again") from error
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}; unpack the data set again") from error
