"""Plans order what they say, are refused in one line where they say it wrongly, and cost nothing to preview."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from contract.dataset import read_dataset
from contract.errors import EdgeError, UsageError
from contract.plan import Cell, Plan, Range
from contract.schemas import CABIN
from runtime.generate import main
from runtime.plans import balancing_plan, read_plan

PLAN = """
cells:
  - count: 5
    set: {fatigue_level: severe, lighting: night, accessory: sunglasses, eye_openness: [0, 0.3]}
  - count: 1
    set: {headwear: [none, hat]}
    grid: [lighting, gender]
"""


def write(folder: Path, text: str) -> Path:
    (folder / "plan.yaml").write_text(text)
    return folder / "plan.yaml"


def cells_of(plan: Plan, *names: str) -> Counter[tuple[object, ...]]:
    return Counter(tuple(condition[name] for name in names) for condition in plan.conditions())


def test_a_plan_file_orders_its_cells(bundle: Path, tmp_path: Path) -> None:
    path = write(tmp_path, PLAN)
    plan = read_plan(path, CABIN)
    combinations = len(CABIN.field("lighting").values) * len(CABIN.field("gender").values)
    assert plan.count == 5 + combinations
    assert main([str(bundle), "-o", str(tmp_path / "d"), "--plan", str(path), "--backend", "cpu"]) == 0
    dataset = read_dataset(tmp_path / "d")
    records = list(dataset.records())
    assert len(records) == plan.count and dataset.description.plan == plan.to_dict()
    wanted = {"fatigue_level": "severe", "lighting": "night", "accessory": "sunglasses"}
    assert all(wanted.items() <= entry.items() and 0 <= entry["eye_openness"] <= 0.3 for entry in records[:5])
    assert len({entry["eye_openness"] for entry in records[:5]}) == 5
    assert len({(entry["lighting"], entry["gender"]) for entry in records[5:]}) == combinations
    assert {entry["headwear"] for entry in records[5:]} <= {"none", "hat"}


ODD = {
    "no list": "cells: 3",
    "not YAML": "cells: [",
    "a tag": "cells: !!python/object/apply:os.system [ls]",
    "an unknown key": "cells: [{counts: 3}]",
    "an unknown field": "cells: [{set: {mood: happy}}]",
    "an unknown value": "cells: [{set: {lighting: dawn}}]",
    "no range": "cells: [{set: {eye_openness: [0.3, 0]}}]",
    "beyond the range": "cells: [{set: {eye_openness: [0, 3]}}]",
    "no count": "cells: [{count: 0}]",
    "a number in a grid": "cells: [{grid: [eye_openness]}]",
    "twice": "cells: [{set: {lighting: day}, grid: [lighting]}]",
    "no cells": "cells: []",
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_an_odd_plan_is_refused_before_the_first_frame(
    text: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bundle), "-o", str(tmp_path / "d"), "--plan", str(write(tmp_path, text))]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Traceback" not in error and not (tmp_path / "d").exists()


def existing(folder: Path, counts: dict[tuple[str, str], int]) -> Path:
    pairs = [pair for pair, count in counts.items() for _ in range(count)]
    lines = [json.dumps({"fatigue_level": level, "lighting": light, "camera": 3}) for level, light in pairs]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "metadata.jsonl"


def test_balancing_orders_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    levels, lights = CABIN.field("fatigue_level").values, CABIN.field("lighting").values
    full = (levels[0], lights[0])
    counts = {full: 900, (levels[1], lights[0]): 60, (levels[1], lights[1]): 40}
    path = existing(tmp_path, counts)
    by = ("fatigue_level", "lighting")
    wanted = {(level, light): 900 - counts.get((level, light), 0) for level in levels for light in lights}
    assert cells_of(balancing_plan(path, CABIN, by), *by) == {cell: count for cell, count in wanted.items() if count}
    found = cells_of(balancing_plan(tmp_path, CABIN, by, to=50), *by)
    assert full not in found and (levels[1], lights[0]) not in found and found[(levels[1], lights[1])] == 10
    assert cells_of(balancing_plan(path, CABIN, ("fatigue_level",)), "fatigue_level") == {
        (level,): 900 - (100 if level == levels[1] else 0) for level in levels[1:]
    }


def test_balancing_refuses_what_it_cannot_count(tmp_path: Path) -> None:
    path = existing(tmp_path, {("none", "dawn"): 1})
    with pytest.raises(EdgeError, match="line 1"):
        balancing_plan(path, CABIN, ("lighting",))
    with pytest.raises(EdgeError, match="line 1: without gender"):
        balancing_plan(path, CABIN, ("gender",))
    with pytest.raises(UsageError, match="--by"):
        balancing_plan(path, CABIN, ())
    lines = [json.dumps({"lighting": light}) for light in CABIN.field("lighting").values]
    path.write_text("\n".join(lines))
    with pytest.raises(EdgeError, match="nothing is missing"):
        balancing_plan(path, CABIN, ("lighting",))


def test_a_dry_run_estimates_and_writes_nothing(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(bundle), "-o", str(tmp_path / "d"), "--plan", str(write(tmp_path, PLAN)), "--backend", "cpu"]
    assert main([*command, "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not (tmp_path / "d").exists() and found["seconds"] > 0
    assert main(command) == 0
    files = [path for path in (tmp_path / "d").rglob("*") if path.is_file() and path.name != "dataset.json"]
    assert found["frames"] == sum(cell["frames"] for cell in found["cells"]) == len(files) - 1
    assert found["bytes"] == pytest.approx(sum(path.stat().st_size for path in files), rel=ESTIMATE)


ESTIMATE = 0.2
"""By how much the first batches' files may differ from the others in size."""


@pytest.mark.parametrize(
    "options",
    [
        ["--plan", "p", "--grid", "lighting"],
        ["--plan", "p", "-n", "3"],
        ["--by", "lighting"],
        ["--to", "3"],
        ["--balance", "b", "--grid", "lighting"],
        ["--raw", "-", "--dry-run"],
        ["--raw", "-", "--labels-as", "coco"],
    ],
    ids=" ".join,
)
def test_options_that_exclude_each_other_are_refused(options: list[str], bundle: Path) -> None:
    assert main([str(bundle), *options]) == 2


def test_a_plan_without_end_draws_its_ranges_anew_each_time_around() -> None:
    plan = Plan(CABIN, [Cell({"eye_openness": Range(0.0, 0.3)}, (), 2), Cell({"lighting": "night"}, (), 1)])
    found = list(itertools.islice(plan.cycle(seed=4), 9))
    assert found[:3] == list(plan.conditions(seed=4))
    assert [sorted(each) for each in found] == [sorted(each) for each in found[:3]] * 3
    assert len({each["eye_openness"] for each in found if "eye_openness" in each}) == 6
