"""Plans from files: cells in YAML, and what an existing dataset lacks.

    plan = read_plan("plan.yaml", schema)
    plan = balancing_plan("real/metadata.jsonl", schema, ("fatigue_level", "lighting"))

A plan file lists cells. `count` is the number of frames of each combination; a number may be a range [low, high], a
class one of several:

    cells:
      - count: 4000
        set: {fatigue_level: severe, lighting: night, accessory: sunglasses, eye_openness: [0, 0.3]}
      - count: 10
        grid: [lighting, accessory]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from contract.conditions import Schema
from contract.dataset import METADATA
from contract.errors import Refused, Unavailable, UsageError
from contract.files import parse_json
from contract.plan import Cell, Plan, Setting, check_settings
from contract.record import short

MAX_BYTES = 1 << 20
"""Of a plan file."""

CELL = ("count", "set", "grid")


def read_plan(path: str | Path, schema: Schema, common: Mapping[str, Setting] | None = None) -> Plan:
    """The plan in a YAML file, with `common` set in every cell; UsageError for what isn't one."""
    content = _load_yaml(Path(path))
    if not isinstance(content, dict) or set(content) != {"cells"} or not isinstance(content["cells"], list):
        raise UsageError(f"{path}: expected a list of cells under the key 'cells'; python -m runtime.generate --help")
    cells = []
    for number, cell in enumerate(content["cells"], 1):
        try:
            cells.append(_cell(schema, cell, common or {}))
        except UsageError as error:
            raise UsageError(f"{path}: cell {number}: {error}") from error
    return Plan(schema, cells)


def balancing_plan(
    path: str | Path, schema: Schema, by: Sequence[str], to: int | None = None, common: Mapping[str, Setting] = {}
) -> Plan:
    """The frames that a dataset lacks for `to` frames (as many as the fullest cell has) in each combination of `by`.

    `path` is a file of records as lines of JSON, or a folder with a `metadata.jsonl`. Refused where a record lacks one
    of the fields or has another value than the schema knows, and where nothing is missing.
    """
    if not by:
        raise UsageError("--balance: by which fields? give --by FIELD,FIELD")
    if both := [name for name in by if name in common]:
        raise UsageError(f"{both[0]}: both set and balanced; take one of them")
    combinations = list(schema.grid(by))  # names the field that can't be in a grid
    have = Counter(_combinations(Path(path), schema, by))
    wanted = to or max(have.values(), default=0)
    lacking = [(cell, wanted - have[tuple(str(cell[name]) for name in by)]) for cell in combinations]
    cells = [Cell({**common, **cell}, (), count) for cell, count in lacking if count > 0]
    if not cells:
        raise Refused(f"{path}: nothing is missing, each of {len(combinations)} combinations has {wanted} frames")
    return Plan(schema, cells)


def _cell(schema: Schema, cell: object, common: Mapping[str, Setting]) -> Cell:
    if not isinstance(cell, dict) or (unknown := [key for key in cell if key not in CELL]):
        found = f"unknown key {unknown[0]!r}" if isinstance(cell, dict) else short(cell)
        raise UsageError(f"{found}; expected the keys {', '.join(CELL)}")
    count, given, grid = cell.get("count", 1), cell.get("set", {}), cell.get("grid", [])
    if type(count) is not int or count < 1:
        raise UsageError(f"count {short(count)}; expected an integer from 1 on")
    if not isinstance(given, dict) or not isinstance(grid, list):
        raise UsageError("expected fields with their values under 'set', and a list of fields under 'grid'")
    if both := [name for name in given if name in common]:
        raise UsageError(f"{both[0]}: both in the file and in --set; take one of them")
    settings = {**common, **check_settings(schema, {str(name): value for name, value in given.items()})}
    return Cell(settings, tuple(map(str, grid)), count)


def _load_yaml(path: Path) -> Any:
    try:
        import yaml
    except ImportError:
        raise Unavailable("--plan: takes PyYAML; run: pip install '.[datasets]'") from None
    content = path.read_bytes()
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path}: {len(content)} bytes; expected a plan of at most {MAX_BYTES}")
    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from error


def _combinations(path: Path, schema: Schema, by: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """What each record has in the fields."""
    path = path / METADATA if path.is_dir() else path
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                entry = parse_json(line)
                if not isinstance(entry, dict) or (missing := [name for name in by if name not in entry]):
                    raise ValueError(f"without {missing[0]}" if isinstance(entry, dict) else "expected an object")
                yield tuple(str(schema.field(name).check(entry[name])) for name in by)
            except ValueError as error:
                raise Refused(f"{path}: line {number}: {error}") from error
