"""The labels of an imagefolder: `metadata.jsonl` or `metadata.csv`, in the folder or in its split folders.

    for row in read_rows(Path("recordings")): row.image, row.values, row.split

A row names its image relative to the folder that its file lies in, as Hugging Face's imagefolder does.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import Refused
from contract.files import parse_json

FILES = ("metadata.jsonl", "metadata.csv")
FOLDS = tuple(f"Fold{number}" for number in range(1, 6))
SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "evaluation", *FOLDS)
"""Names of folders that are parts of one data set."""

IMAGE = "file_name"
"""Column that names the image."""

DRIVERS = ("driver", "subject", "driver_id", "subject_id")
"""Columns that say who is seen; the first one that is there counts."""


@dataclass(frozen=True)
class Row:
    """One labelled image."""

    image: Path
    values: dict[str, Any]
    """Every column but the image's; what is empty or null isn't there."""
    split: str
    """Folder of the split, empty where there is none."""
    where: str
    """File and line, for error messages."""

    @property
    def driver(self) -> str | None:
        """Who is seen, where a column says so."""
        return next((str(self.values[name]) for name in DRIVERS if name in self.values), None)


def metadata_files(folder: Path) -> list[tuple[str, Path]]:
    """Split and path of each metadata file of a folder; Refused where two kinds lie side by side."""
    found = []
    for split, place in [("", folder), *((name, folder / name) for name in SPLITS)]:
        here = [place / name for name in FILES if (place / name).is_file()]
        if len(here) > 1:
            raise Refused(f"{place}: {' and '.join(FILES)} lie side by side; remove the one that is out of date")
        found += [(split, path) for path in here]
    return found


def read_rows(folder: Path) -> Iterator[Row]:
    """Every row of every metadata file; Refused, naming the line, where one is damaged or leaves the folder."""
    for split, path in metadata_files(folder):
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise Refused(f"{path}: not UTF-8 text; save it as UTF-8") from error
        lines: Iterator[tuple[str, dict[str, Any]]]
        lines = _json_lines(path, text) if path.suffix == ".jsonl" else csv_lines(path, text)
        for where, record in lines:
            values = {name: value for name, value in record.items() if value is not None and value != ""}
            name = values.pop(IMAGE, None)
            if not isinstance(name, str):
                raise Refused(f"{where}: no {IMAGE}; expected the name of an image in every record")
            yield Row(image_inside(path.parent, name, where), values, split, where)


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):  # other ends of lines may stand in a text
        where = f"{path}:{number}"
        try:
            record = parse_json(line.encode()) if line.strip() else None
        except ValueError as error:
            raise Refused(f"{where}: {error}; expected one object a line") from error
        if record is not None:
            if not isinstance(record, dict):
                raise Refused(f"{where}: a {type(record).__name__}; expected one object a line")
            yield where, record


def csv_lines(path: Path, text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and values of each line of a CSV file with a header, by comma, semicolon or tab; Refused names the line."""
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    try:
        reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
        columns = [name.strip() for name in next(reader, [])]
        if len(set(columns)) != len(columns):
            raise Refused(f"{path}:1: a column stands twice; expected distinct names")
        for values in reader:
            where = f"{path}:{reader.line_num}"
            if values and len(values) != len(columns):
                raise Refused(f"{where}: {len(values)} values; expected the {len(columns)} columns of the first line")
            if values:
                yield where, dict(zip(columns, (value.strip() for value in values), strict=True))
    except csv.Error as error:
        raise Refused(f"{path}: not CSV ({error}); quote texts that hold the delimiter") from error


def image_inside(folder: Path, name: str, where: str) -> Path:
    """The image of that name, which has to lie inside the folder; Refused, naming `where`, otherwise."""
    parts = Path(name.replace("\\", "/")).parts
    if not parts or Path(*parts).is_absolute() or ".." in parts or "\0" in name:
        raise Refused(f"{where}: {IMAGE} {name[:80]!r} leaves the folder; expected a path inside {folder}")
    return folder.joinpath(*parts)
