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

from contract.cli import Parser
from contract.errors import run_command
from contract.progress import progress_bar
from sources.options import add_layout_flags, chosen_layout, chosen_mapping
from sources.survey import MOST, FieldCount, Survey, survey_folder


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
    add_layout_flags(parser)
    parser.add_argument("--no-images", action="store_true", help="count labels alone, without decoding images")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    mapping = chosen_mapping(args)
    survey = survey_folder(
        args.folder,
        args.schema,
        chosen_layout(args, mapping),
        mapping,
        images=not args.no_images,
        progress=lambda loop: progress_bar(loop, unit="image"),
    )
    print(json.dumps(survey.to_dict(), indent=1) if args.json else "\n".join(lines(survey)))
    return 1 if survey.problems else 0


def main(argv: list[str] | None = None) -> int:
    return run_command("sources.inspect", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
