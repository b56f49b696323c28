"""Where training frames come from: a folder of shards, or an imagefolder with `metadata.jsonl`.

source = read_source(Path("build/cabin64"), schema="cabin")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from contract.conditions import Schema
from contract.errors import Refused, UsageError
from contract.files import parse_json, read_json
from contract.schemas import SCHEMAS
from sources.base import LabelledFrames, fingerprint
from sources.shards import DESCRIPTION, RENDER, read_shards


def read_source(folder: Path, schema: str) -> LabelledFrames:
    """Every frame of a source in memory; `schema` is used where a folder doesn't name its own.

    Raises Refused for a folder that is neither kind, UsageError for an unknown schema.
    """
    if (folder / DESCRIPTION).is_file():
        return read_shards(folder)
    if (folder / "metadata.jsonl").is_file():
        return read_imagefolder(folder, schema)
    raise Refused(f"{folder}: neither {DESCRIPTION} nor metadata.jsonl; render one with `{RENDER} {folder}`")


def read_imagefolder(folder: Path, schema: str) -> LabelledFrames:
    """An imagefolder whose records carry every field of the schema by name; all images of one size."""
    described = folder / "dataset.json"
    if described.is_file():
        chosen = Schema.from_dict(read_json(described).get("schema"))
    elif schema in SCHEMAS:
        chosen = SCHEMAS[schema]
    else:
        raise UsageError(f"--schema {schema}: expected one of {', '.join(SCHEMAS)}")
    conditions, frames = [], []
    for number, line in enumerate((folder / "metadata.jsonl").read_bytes().splitlines(), start=1):
        where = f"{folder / 'metadata.jsonl'}:{number}"
        record = _record(line, where)
        missing = [name for name in (*chosen.names, "file_name") if name not in record]
        if missing:
            raise Refused(f"{where}: no {', '.join(missing[:3])}; expected every field of the schema {chosen.name!r}")
        try:
            conditions.append(chosen.check({name: record[name] for name in chosen.names}))
        except UsageError as error:
            raise Refused(f"{where}: {error}") from error
        frames.append(_image(folder / str(record["file_name"]), where))
    if not frames:
        raise Refused(f"{folder / 'metadata.jsonl'}: no record; expected one JSON object a line")
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1:
        found = " and ".join(" x ".join(map(str, shape)) for shape in sorted(shapes)[:2])
        raise Refused(f"{folder}: images of {len(shapes)} shapes, as {found}; expected one size and kind of image")
    pixels, encoded = np.stack(frames), chosen.encode(conditions)
    hidden = np.array([[name in chosen.hidden(condition) for name in chosen.names] for condition in conditions])
    return LabelledFrames(chosen, pixels, encoded, None, hidden, None, fingerprint(pixels, encoded))


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = parse_json(line)
    except ValueError as error:
        raise Refused(f"{where}: {error}; expected one object a line") from error
    if not isinstance(record, dict):
        raise Refused(f"{where}: a {type(record).__name__}; expected one object a line")
    return record


def _image(path: Path, where: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"), dtype=np.uint8)
            return pixels.reshape(image.height, image.width, -1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"{where}: {path.name} is missing or no whole image") from error
