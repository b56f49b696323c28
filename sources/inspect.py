"""Say what a folder of recordings holds: images, drivers, labels on the schema, and labels that map onto nothing.

    python -m sources.inspect recordings
    python -m sources.inspect state-farm --layout state-farm --json

Reads shards, imagefolders with metadata, and the public layouts of docs/public-data.md. Exit status 1 where training
would refuse the folder.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from contract.cli import Parser
from contract.errors import UsageError, run_command
from contract.files import read_json
from contract.schemas import SCHEMAS
from sources.public.layouts import LAYOUTS, layout_named
from sources.public.mapping import LabelMapping
from sources.public.record import Layout
from sources.public.table import own_layout
from sources.survey import MOST, FieldCount, Survey, survey_folder

OWN = "own"
"""Layout of tables of people's own, which a mapping describes."""


def lines(survey: Survey) -> Iterator[str]:
    """The survey as text."""
    drivers = f"{len(survey.drivers)} drivers" if survey.drivers else "drivers unknown"
    yield f"{survey.folder}: {survey.kind}, {survey.records} records, {survey.frames} frames, {drivers}"
    for name, counts in (("images", survey.images), ("read as", survey.notes), ("splits", survey.splits)):
        if set(counts) - {""}:
            yield _line(name, _counted(counts))
    if survey.drivers:
        yield _line("drivers", _counted(survey.drivers))
    for name, found in survey.fields.items():
        if found.labelled:
            yield _line(name, _field(found, survey.frames))
    if unlabelled := [name for name, found in survey.fields.items() if not found.labelled]:
        yield _line("not labelled", ", ".join(unlabelled))
    for column, counts in survey.unmapped.items():
        yield _line("not mapped", f"{column}: {_counted(counts)}")
    for column, counts in survey.clips.items():
        yield _line("clips only", f"{column}: {_counted(counts)}")
    for name, texts in (("caution", survey.cautions), ("layout", survey.sources), ("problem", survey.problems)):
        yield from (_line(name, text) for text in texts)
    if survey.more_problems:
        yield _line("problem", f"and {survey.more_problems} more")


def _line(name: str, text: str) -> str:
    return f"  {name:<16} {text}"


def _counted(counts: Counter[str]) -> str:
    shown = ", ".join(f"{name or '(none)'} {count}" for name, count in counts.most_common(MOST))
    return shown + (f" and {len(counts) - MOST} others" if len(counts) > MOST else "")


def _field(found: FieldCount, frames: int) -> str:
    text = _counted(found.counts) if found.counts else f"{found.low:g} to {found.high:g}"
    never = f"; never {', '.join(found.never)}" if found.never else ""
    missing = f"; missing in {frames - found.labelled}" if found.labelled < frames else ""
    return text + never + missing


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog="python -m sources.inspect",
        description="Say what a folder of recordings holds and what training would make of it.",
        epilog="example: python -m sources.inspect recordings --schema cabin",
    )
    parser.add_argument("folder", type=Path, help="folder, or a CSV or COCO file with --mapping")
    parser.add_argument("--layout", metavar="NAME", help=f"{', '.join(LAYOUTS)} or {OWN} (recognised)")
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="JSON: what columns mean, instead of the layout's")
    parser.add_argument("--schema", default="cabin", help=f"{', '.join(SCHEMAS)} (cabin; a folder may name its own)")
    parser.add_argument("--no-images", action="store_true", help="count labels alone, without decoding images")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    mapping = LabelMapping.from_dict(read_json(args.mapping)) if args.mapping else None
    survey = survey_folder(
        args.folder,
        args.schema,
        _layout(args, mapping),
        mapping,
        images=not args.no_images,
        progress=lambda loop: tqdm(loop, unit="image", disable=None),
    )
    print(json.dumps(survey.to_dict(), indent=1) if args.json else "\n".join(lines(survey)))
    return 1 if survey.problems else 0


def _layout(args: argparse.Namespace, mapping: LabelMapping | None) -> Layout | None:
    """The layout that was asked for; None where it has to be recognised."""
    if args.layout == OWN or (mapping and not args.layout):
        if mapping is None:
            raise UsageError(f"--layout {OWN}: expected --mapping FILE, which says what its columns mean")
        return own_layout(args.folder, mapping)
    return layout_named(args.layout) if args.layout else None


def main(argv: list[str] | None = None) -> int:
    return run_command("sources.inspect", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
