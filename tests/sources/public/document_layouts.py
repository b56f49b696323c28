"""Write the sections of docs/public-data.md that say how each layout is read, from the layouts themselves.

python -m tests.sources.public.document_layouts
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sources.public.layouts import LAYOUTS
from sources.public.mapping import Column
from sources.public.record import Layout

PAGE = Path(__file__).parents[3] / "docs/public-data.md"
MARK = "<!-- layouts: written by python -m tests.sources.public.document_layouts -->\n"


def sections() -> str:
    """The sections of all layouts."""
    return "".join(f"\n{line}" if line else "\n" for layout in LAYOUTS.values() for line in _section(layout)) + "\n"


def _section(layout: Layout) -> Iterator[str]:
    yield f"### {layout.name}"
    yield ""
    yield f"{layout.title}."
    yield ""
    rows = [row for name, column in layout.mapping.columns.items() for row in _rows(name, column)]
    if rows:
        yield "| label | value | on the schema |"
        yield "|---|---|---|"
        yield from rows
        yield ""
    yield from (f"- {text}" for text in layout.cautions)
    described = [text for text in layout.sources if not text.startswith("unverified")]
    if described:
        yield f"- described by: {'; '.join(described)}"
    yield from (f"- {text}" for text in layout.sources if text.startswith("unverified"))
    yield ""


def _rows(name: str, column: Column) -> Iterator[str]:
    """One row for all values that mean the same."""
    meanings: dict[str, list[str]] = {}
    for value, sets in column.values.items():
        meanings.setdefault(", ".join(f"`{field}={meant}`" for field, meant in sets.items()), []).append(value)
    for meaning, values in meanings.items():
        yield f"| {name} | {', '.join(values)} | {meaning} |"


def page() -> str:
    """The page with its sections as they should be."""
    return PAGE.read_text().split(MARK)[0] + MARK + sections().rstrip("\n") + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
