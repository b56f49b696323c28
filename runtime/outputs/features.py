"""The declared types of a dataset's records as Hugging Face's `datasets` takes them.

    features = datasets.Features.from_dict(features_of(open_dataset("frames").description))
    datasets.load_dataset("imagefolder", data_dir="frames", features=features)

They are the same for every run of one schema, so that runs load together whatever they hold. Parquet files hold them;
of the other layouts the library guesses them from the first file, and no number fits what it makes of nulls.
"""

from __future__ import annotations

from typing import Any

from contract.conditions import Schema
from contract.dataset import Description
from contract.frame_record import SUFFIXES, Column, columns

IMAGE = {"_type": "Image"}
TEXT = {"dtype": "string", "_type": "Value"}


def features_of(description: Description) -> dict[str, Any]:
    """The columns that `datasets` makes of a dataset of this layout: `json` of the records in a WebDataset."""
    if description.layout == "webdataset":
        image = SUFFIXES[description.codec]
        return {image: IMAGE, "json": record_features(description.schema), "__key__": TEXT, "__url__": TEXT}
    records = record_features(description.schema)
    if description.layout == "folder":
        del records["file_name"]  # the image stands in its place
    return {"image": IMAGE} | records


def record_features(schema: Schema) -> dict[str, Any]:
    """The columns of every record of a schema."""
    return {column.name: _feature(column) for column in columns(schema)}


def _feature(column: Column) -> Any:
    if column.children:
        struct = {child.name: _feature(child) for child in column.children}
        return [struct] if column.kind == "list" else struct
    return {"dtype": column.kind, "_type": "Value"}
