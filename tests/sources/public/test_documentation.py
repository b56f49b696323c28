"""docs/public-data.md says what the loaders do: its sections are written from the layouts, its example runs."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from sources.public.mapping import LabelMapping
from tests.sources.public.document_layouts import PAGE, page
from tests.sources.public.miniatures import MINIATURES


def example(first: str) -> str:
    """The indented block of the page that begins with a line."""
    text = PAGE.read_text()
    lines = text[text.index(f"    {first}") :].splitlines()
    end = next((n for n, line in enumerate(lines) if line and not line.startswith("    ")), len(lines))
    return textwrap.dedent("\n".join(lines[:end]))


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.sources.public.document_layouts"


def test_its_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MINIATURES["state-farm"][1](tmp_path / "state-farm")
    (tmp_path / "state-farm/driver_imgs_list.csv").write_text(
        "subject,classname,img\n" + "".join(f"p{n},c{n},img_{n}.jpg\n" for n in range(10))
    )
    code = compile(example("from contract.schemas import CABIN"), str(PAGE), "exec")
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {"Path": Path}
    exec(code, found)
    assert len(found["splits"]) == 10  # type: ignore[arg-type]


def test_its_mapping_is_one() -> None:
    assert LabelMapping.from_dict(json.loads(example('{"image"'))).driver == "person"
