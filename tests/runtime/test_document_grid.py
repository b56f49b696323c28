"""Every combination of a schema, in every layout, as the libraries that training code reads it with load it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import webdataset

from contract.plan import Cell, Plan
from contract.schemas import DOCUMENT
from runtime.generate import main
from runtime.outputs.writer import FORMATS
from tests.fake_bundle import write_fake_bundle

GRID = tuple(field.name for field in DOCUMENT.fields if field.is_class)
EACH = 4


def rows(layout: str, folder: Path, cache: Path) -> Iterator[dict[str, Any]]:
    options: dict[str, Any] = {"split": "train", "cache_dir": str(cache)}
    if layout == "folder":
        yield from datasets.load_dataset("imagefolder", data_dir=str(folder), **options)
    elif layout == "parquet":
        yield from datasets.load_dataset("parquet", data_files=str(folder / "frames/*.parquet"), **options)
    else:
        shards = [str(path) for path in sorted((folder / "frames").glob("*.tar"))]
        yield from (json.loads(sample["json"]) for sample in webdataset.WebDataset(shards, shardshuffle=False))


@pytest.mark.parametrize("layout", FORMATS)
def test_the_whole_grid_is_loaded_as_it_was_ordered(layout: str, tmp_path: Path) -> None:
    datasets.disable_progress_bars()
    write_fake_bundle(tmp_path / "bundle", DOCUMENT)
    options = ["--grid", ",".join(GRID), "-n", str(EACH), "--backend", "cpu", "--format", layout]
    assert main([str(tmp_path / "bundle"), "-o", str(tmp_path / "d"), *options]) == 0
    plan = Plan(DOCUMENT, [Cell({}, GRID, EACH)])
    found = list(rows(layout, tmp_path / "d", tmp_path / "cache"))
    assert len(found) == plan.count == 1280
    assert [{name: row[name] for name in GRID} for row in found] == list(plan.conditions())
