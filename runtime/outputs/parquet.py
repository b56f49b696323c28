"""The Parquet layout: tables with the records' columns and the image file of each frame.

    with ParquetWriter("frames", description) as writer: ...           # frames/00000.parquet, ...

It loads with `datasets.load_dataset("parquet", data_files="frames/frames/*.parquet")`, which shows the column `image`
as pictures (Hugging Face's image feature: a struct of `bytes` and `path`), and with whatever reads Parquet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import IO, Any

from contract.conditions import Schema
from contract.dataset import Description, Record
from contract.errors import Unavailable
from contract.frame_record import Column, columns
from runtime.outputs.features import record_features
from runtime.outputs.shards import Sample, ShardWriter

ROWS = 100
"""Frames in a row group: what is held in memory at a time."""

IMAGE = "image"


class TableShard:
    """One Parquet file being written."""

    def __init__(self, file: IO[bytes], schema: Schema) -> None:
        self._pa, parquet = load_pyarrow()
        self._schema = table_schema(schema)
        # The images are compressed already, and the records are few bytes beside them.
        # Statistics of the others alone: those of a column of images would hold two of them whole.
        flat = [column.name for column in columns(schema) if not column.children]
        options = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
        self._writer = parquet.ParquetWriter(file, self._schema, write_statistics=flat, **options)
        self._rows: list[dict[str, Any]] = []

    def add(self, index: int, sample: Sample) -> None:
        self._rows.append({IMAGE: {"bytes": sample.content, "path": sample.record["file_name"]}} | sample.record)
        if len(self._rows) == ROWS:
            self._flush()

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._writer.write_table(self._pa.Table.from_pylist(rows, schema=self._schema), row_group_size=ROWS)


class TableLayout:
    """Samples in Parquet files."""

    suffix = "parquet"

    def create(self, file: IO[bytes], description: Description) -> TableShard:
        return TableShard(file, description.schema)

    def read(self, file: IO[bytes], description: Description) -> Iterator[Sample]:
        for row in self._rows(file, description, [IMAGE]):
            image = row.pop(IMAGE)
            yield Sample(row, image["bytes"])

    def records(self, file: IO[bytes], description: Description) -> Iterator[Record]:
        return self._rows(file, description, [])

    def _rows(self, file: IO[bytes], description: Description, more: list[str]) -> Iterator[dict[str, Any]]:
        pa, parquet = load_pyarrow()
        names = [column.name for column in columns(description.schema)]
        try:
            table = parquet.ParquetFile(file, page_checksum_verification=True)
            if not table.schema_arrow.equals(table_schema(description.schema)):
                raise ValueError("other columns than the schema's")
            for batch in table.iter_batches(ROWS, columns=[*more, *names]):
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"not a whole Parquet file ({error})") from error


class ParquetWriter(ShardWriter):
    """Writes a dataset of Parquet files; Unavailable without pyarrow."""

    LAYOUT = TableLayout()

    def __init__(self, address: Any, description: Description) -> None:
        load_pyarrow()
        super().__init__(address, description)


def load_pyarrow() -> tuple[Any, Any]:
    """pyarrow and its Parquet module; Unavailable, with the command that installs it, where it isn't there."""
    try:
        import pyarrow  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError:
        raise Unavailable("parquet: takes pyarrow; run: pip install '.[datasets]'") from None
    return pyarrow, pyarrow.parquet


@lru_cache(maxsize=8)
def table_schema(schema: Schema) -> Any:
    """The Arrow schema of every dataset of a schema, with the features that Hugging Face's `datasets` reads."""
    pa, _ = load_pyarrow()
    fields = columns(schema)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {IMAGE: {"_type": "Image"}} | record_features(schema)
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([(IMAGE, image), *((column.name, _type(pa, column)) for column in fields)], metadata)


def _type(pa: Any, column: Column) -> Any:
    if column.children:
        struct = pa.struct([(child.name, _type(pa, child)) for child in column.children])
        return pa.list_(struct) if column.kind == "list" else struct
    return getattr(pa, {"bool": "bool_"}.get(column.kind, column.kind))()
