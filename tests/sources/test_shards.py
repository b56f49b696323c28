"""Shards are read whole, and one that holds other numbers than it should is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit.privacy.miniature import draw_people
from contract.errors import Refused
from sources.drivers import driver_keys
from sources.shards import ARRAYS, domain_of, read_shards
from tests.sources.folders import write_shards


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    people = draw_people(3, 4, seed=0)
    return write_shards(replace(people, points=np.zeros((len(people.frames), 0, 2), np.float32)), tmp_path / "people")


def test_what_was_written_is_read(folder: Path) -> None:
    found, people = read_shards(folder), draw_people(3, 4, seed=0)
    assert (found.frames == people.frames).all() and found.fingerprint == people.fingerprint


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("frames", lambda array: array.astype(np.float32) * np.nan),
        ("frames", lambda array: array[..., 0]),
        ("conditions", lambda array: array.astype(np.float64)),
        ("conditions", lambda array: array[:-1]),
        ("hidden", lambda array: array.astype(np.int8)),
        ("subjects", lambda array: array.astype(np.float32)),
        ("subjects", lambda array: array[:, None]),
    ],
)
def test_a_shard_of_other_numbers(folder: Path, name: str, change: object) -> None:
    path = folder / "shard-00000.npz"
    with np.load(path) as content:
        arrays = {each: content[each] for each in ARRAYS}
    np.savez(path, **arrays | {name: change(arrays[name])})  # type: ignore[operator, arg-type]
    with pytest.raises(Refused, match=rf"shard-00000\.npz: {name} are .*; expected 12 rows of .*; remove it"):
        read_shards(folder)


def test_a_shard_without_an_array_or_cut_short(folder: Path) -> None:
    path = folder / "shard-00000.npz"
    content = path.read_bytes()
    for damaged in (content[:-50], content[:50], b""):
        path.write_bytes(damaged)
        with pytest.raises(Refused, match=r"shard-00000\.npz: damaged"):
            read_shards(folder)
    np.savez(path, frames=np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(Refused, match="damaged"):
        read_shards(folder)


def test_a_shard_that_unpacks_to_more_than_is_there(folder: Path) -> None:
    path = sorted(folder.glob("shard-*.npz"))[0]
    with np.load(path) as arrays:
        content: dict[str, Any] = dict(arrays)
    np.savez_compressed(path, **content | {"frames": np.zeros_like(content["frames"])})
    with pytest.raises(Refused, match=r"shard-00000\.npz: damaged; remove it"):
        read_shards(folder)


def test_shards_of_two_sizes(folder: Path) -> None:
    with np.load(folder / "shard-00000.npz") as content:
        arrays = {name: content[name] for name in ARRAYS}
    np.savez(folder / "shard-00001.npz", **arrays | {"frames": arrays["frames"][:, :4, :4]})  # type: ignore[arg-type]
    with pytest.raises(Refused, match=r"shard-00001\.npz: frames of \(4, 4, 3\), others of \(8, 8, 3\)"):
        read_shards(folder)


def test_conditions_of_another_width_than_the_schema(folder: Path) -> None:
    with np.load(folder / "shard-00000.npz") as content:
        arrays = {name: content[name] for name in ARRAYS}
    np.savez(folder / "shard-00000.npz", **arrays | {"conditions": arrays["conditions"][:, :5]})  # type: ignore[arg-type]
    with pytest.raises(Refused, match="conditions of width 5; its schema's are 6 wide"):
        read_shards(folder)


def test_an_origin_that_is_no_object(folder: Path) -> None:
    described = json.loads((folder / "shards.json").read_text())
    (folder / "shards.json").write_text(json.dumps(described | {"origin": "cabin"}))
    with pytest.raises(Refused, match=r"shards\.json: origin: expected an object"):
        domain_of(folder)


def test_names_of_drivers_are_kept(folder: Path) -> None:
    description = json.loads((folder / "shards.json").read_text())
    (folder / "shards.json").write_text(json.dumps(description | {"drivers": ["anna", "ben", "cleo"]}))
    keys = driver_keys(read_shards(folder))
    assert keys is not None and sorted(set(keys)) == ["anna", "ben", "cleo"]
    for odd, message in ((["anna"], "subjects beyond the 1 drivers"), ([1, 2, 3], "drivers")):
        (folder / "shards.json").write_text(json.dumps(description | {"drivers": odd}))
        with pytest.raises(Refused, match=message):
            read_shards(folder)
