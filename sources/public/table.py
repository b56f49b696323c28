"""Tables of people's own: any imagefolder, CSV or COCO file, read by a mapping that names its columns.

    {"image": "path", "driver": "person", "split": "set", "clip": ["kss"],
     "columns": {"state": {"values": {"texting": {"distraction_type": "phone"}}},
                 "yaw": {"field": "head_yaw", "factor": -1}}}

Columns of an imagefolder are those of its metadata, and `folder`, the name of the folder that the image lies in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from contract.errors import Refused
from contract.files import parse_json
from sources.metadata import csv_lines, image_inside, metadata_files, read_rows
from sources.public.mapping import LabelMapping
from sources.public.record import IMAGES, Layout, Sample, files_of, text_of

FOLDER = "folder"
"""Column of the name of an image's folder."""


def table_of(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and values of each row of a CSV file, those of `columns` being there; Refused names the line."""
    for where, row in csv_lines(path, text_of(path)):
        missing = [name for name in columns if not row.get(name)]
        if missing:
            raise Refused(f"{where}: no {', '.join(missing)}; expected the columns {', '.join(columns)}")
        yield where, row


def own_layout(path: Path, mapping: LabelMapping) -> Layout:
    """The layout of a table of people's own: a CSV file, a COCO file, or an imagefolder with or without metadata."""
    readers = {".csv": read_csv, ".json": read_coco}
    read = readers.get(path.suffix.lower(), read_images)
    title = "a CSV or COCO file, or a folder of images, as the mapping says"
    return Layout("own", title, (), mapping, lambda _: True, partial(_read, read, path, mapping))


def _read(read: Any, path: Path, mapping: LabelMapping, _: Path) -> Iterator[Sample]:
    for where, image, values in read(path, mapping):
        driver = str(values.get(mapping.driver, "")).strip()
        if not driver:
            raise Refused(f"{where}: no {mapping.driver}; every record needs a driver (name its column in the mapping)")
        special = {mapping.driver, mapping.split, mapping.image}
        texts = {name: str(value) for name, value in values.items() if name not in special and value not in (None, "")}
        clip = {name: texts.pop(name) for name in mapping.clip if name in texts}
        yield Sample(image, driver, texts, clip, None, str(values.get(mapping.split) or ""))


def read_csv(path: Path, mapping: LabelMapping) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    """Rows of a CSV file; images are named relative to it."""
    for where, row in table_of(path, (mapping.image,)):
        yield where, _there(image_inside(path.parent, row[mapping.image], where), where), row


def read_images(folder: Path, mapping: LabelMapping) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    """Images with their metadata or, where there is none, with the names of their folders, the nearest one first."""
    if metadata_files(folder):
        for row in read_rows(folder):
            values = {FOLDER: row.image.parent.name} | row.values
            yield row.where, _there(row.image, row.where), values | ({mapping.split: row.split} if row.split else {})
        return
    for path in files_of(folder, IMAGES):
        above = path.relative_to(folder).parts[-2::-1]
        names = {FOLDER: above[0] if above else ""} | {
            f"{FOLDER}_{n}": name for n, name in enumerate(above[1:], start=2)
        }
        yield str(path), path, names


def read_coco(path: Path, mapping: LabelMapping) -> Iterator[tuple[str, Path, Mapping[str, Any]]]:
    """Images of a COCO file with the attributes of their only annotation and its category's name as `category`."""
    try:
        content = parse_json(text_of(path).encode())
        images = {image["id"]: image for image in content["images"]}
        names = {category["id"]: category["name"] for category in content.get("categories", [])}
        labels: dict[Any, dict[str, Any]] = {}
        for annotation in content.get("annotations", []):
            of = annotation["image_id"]
            if of not in images or of in labels:
                raise Refused(
                    f"{path}: image {of!r} has {'two annotations' if of in labels else 'no entry'}; expected one"
                )
            labels[of] = dict(annotation.get("attributes", {}))
            if "category_id" in annotation:
                labels[of]["category"] = names[annotation["category_id"]]
        for number, image in images.items():
            where = f"{path}: image {number!r}"
            file = _there(image_inside(path.parent, image[mapping.image], where), where)
            yield (
                where,
                file,
                {k: v for k, v in image.items() if isinstance(v, (str, int, float))} | labels.get(number, {}),
            )
    except Refused:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{path}: {type(error).__name__} {error}; expected a COCO file") from error


def _there(image: Path, where: str) -> Path:
    if not image.is_file():
        raise Refused(f"{where}: {image} is missing; correct its name, or remove its record")
    return image
