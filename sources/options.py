"""The flags of what a folder's labels mean, and of its layout, which `sources.inspect` and `sources.convert` share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from contract.cli import Parser
from contract.errors import Refused, UsageError
from contract.files import read_json
from contract.schemas import SCHEMAS
from sources.public.layouts import LAYOUTS, layout_named, layout_of
from sources.public.mapping import LabelMapping
from sources.public.record import Layout
from sources.public.table import own_layout

SCHEMA = "cabin"
"""What a folder's labels mean where neither it nor the user says."""

OWN = "own"
"""Layout of tables of people's own, which a mapping describes."""


def add_schema_flag(add: Any) -> None:
    """`--schema`."""
    names = ", ".join(SCHEMAS)
    add("--schema", default=SCHEMA, metavar="NAME", help=f"of folders that don't name their own: {names} ({SCHEMA})")


def add_layout_flags(parser: Parser) -> None:
    """The folder, `--layout`, `--mapping` and `--schema`."""
    parser.add_argument("folder", type=Path, help="folder, or a CSV or COCO file with --mapping")
    parser.add_argument("--layout", metavar="NAME", help=f"{', '.join(LAYOUTS)} or {OWN} (recognised)")
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="JSON: what columns mean, instead of the layout's")
    add_schema_flag(parser.add_argument)


def chosen_mapping(args: argparse.Namespace) -> LabelMapping | None:
    """The mapping of `--mapping`; None where the layout's own counts."""
    return LabelMapping.from_dict(read_json(args.mapping)) if args.mapping else None


def chosen_layout(args: argparse.Namespace, mapping: LabelMapping | None) -> Layout | None:
    """The layout that was asked for; None where it has to be recognised."""
    if args.layout == OWN or (mapping and not args.layout):
        if mapping is None:
            raise UsageError(f"--layout {OWN}: expected --mapping FILE, which says what its columns mean")
        return own_layout(args.folder, mapping)
    return layout_named(args.layout) if args.layout else None


def recognised(folder: Path) -> Layout:
    """The layout that a folder has; Refused where it has none of the known ones."""
    layout = layout_of(folder)
    if layout is None:
        raise Refused(
            f"{folder}: none of the known layouts ({', '.join(LAYOUTS)}); give tables of your own a --mapping"
        )
    return layout
