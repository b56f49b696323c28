"""Where training frames come from: a folder of shards, or images with their labels in metadata files.

source = read_source(Path("build/cabin128"), schema="cabin")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contract.conditions import Schema
from contract.dataset import DESCRIPTION as DATASET
from contract.errors import Refused, UsageError
from contract.field import Condition
from contract.files import read_json
from contract.schemas import SCHEMAS
from sources.base import LabelledFrames, fingerprint
from sources.images import read_picture, to_frames
from sources.metadata import FILES, Row, metadata_files, read_rows
from sources.shards import DESCRIPTION, RENDER, read_shards
from sources.splits import check_splits

UNKNOWN = "unknown"
"""A class of this name is what a missing label becomes, where a field has one: so a schema says how to train on it."""


def read_source(folder: Path, schema: str, partial: bool = False) -> LabelledFrames:
    """Every frame of a source in memory; `schema` is used where a folder doesn't name its own.

    With `partial`, labels may be missing: those fields count as hidden. Raises Refused for a folder that is neither
    kind or lacks labels, UsageError for an unknown schema.
    """
    if (folder / DESCRIPTION).is_file():
        return read_shards(folder)
    if metadata_files(folder):
        return read_imagefolder(folder, schema, partial)
    kinds = " nor ".join((DESCRIPTION, *FILES))
    raise Refused(f"{folder}: neither {kinds}; render one with `{RENDER} {folder} -n 256`")


def read_imagefolder(folder: Path, schema: str, partial: bool = False) -> LabelledFrames:
    """Images of one size whose records carry the fields of the schema by name, in all splits of a folder."""
    chosen, rows = schema_of(folder, schema), list(read_rows(folder))
    if not rows:
        raise Refused(f"{folder}: no record in {' or '.join(FILES)}; expected one for each image")
    conditions = [labels_of(row, chosen) for row in rows]
    unlabelled = np.array([[name not in condition for name in chosen.names] for condition in conditions])
    if unlabelled.any() and not partial:
        row = int(unlabelled.any(axis=1).argmax())
        absent = [name for name in chosen.names if name not in conditions[row]]
        raise Refused(
            f"{rows[row].where}: no {', '.join(absent[:3])}; expected every field of the schema {chosen.name!r}: label"
            f" it, or give its field a class {UNKNOWN!r} (`python -m sources.inspect {folder}` counts them)"
        )
    frames = to_frames([read_picture(row.image) for row in rows], str(folder))
    encoded = encode_partial(chosen, conditions)
    hidden = np.array([[name in chosen.hidden(condition) for name in chosen.names] for condition in conditions])
    known = fingerprint(frames, encoded)
    names = tuple(sorted({str(row.driver) for row in rows}))  # the order in which subjects_of numbers them
    return LabelledFrames(
        chosen,
        frames,
        encoded,
        None,
        hidden | unlabelled,
        subjects_of(rows),
        known,
        unlabelled=unlabelled if unlabelled.any() else None,
        driver_names=names,
    )


def schema_of(folder: Path, schema: str) -> Schema:
    """The schema that a folder names in `dataset.json`, or the one of that name."""
    if (folder / DATASET).is_file():
        return Schema.from_dict(read_json(folder / DATASET).get("schema"))
    if schema in SCHEMAS:
        return SCHEMAS[schema]
    raise UsageError(f"--schema {schema}: expected one of {', '.join(SCHEMAS)}")


def labels_of(row: Row, schema: Schema) -> Condition:
    """The fields that a row labels, checked; a missing one becomes UNKNOWN where its field has such a class."""
    try:
        found = schema.check({name: row.values[name] for name in schema.names if name in row.values})
    except UsageError as error:
        raise Refused(f"{row.where}: {error}") from error
    missing = {f.name: UNKNOWN for f in schema.fields if f.name not in found and UNKNOWN in f.values}
    return {name: (found | missing)[name] for name in schema.names if name in found or name in missing}


def encode_partial(schema: Schema, conditions: Sequence[Condition]) -> npt.NDArray[np.float32]:
    """Conditions as vectors [N, D] in which the slots of a missing field are 0."""
    vectors = np.zeros((len(conditions), schema.width), np.float32)
    for vector, condition in zip(vectors, conditions, strict=True):
        for name, value in condition.items():
            field = schema.field(name)
            vector[field.slots] = field.encode(value)
    return vectors


def subjects_of(rows: Sequence[Row]) -> npt.NDArray[np.int64] | None:
    """A number for each driver, [N]; None where not every row says who is seen.

    Refused where one driver is in two splits.
    """
    drivers = [row.driver for row in rows]
    check_splits((row.driver, row.split, row.where) for row in rows)
    if None in drivers:
        return None
    numbers = {driver: number for number, driver in enumerate(sorted(set(map(str, drivers))))}
    return np.array([numbers[str(driver)] for driver in drivers], np.int64)
