"""Canaries among frames whose drivers have names, and among frames that don't say whose they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from audit.privacy.canary_files import insert
from audit.privacy.miniature import draw_people
from contract.errors import Refused
from sources.drivers import driver_keys
from sources.shards import read_shards
from tests.sources.folders import write_images


def test_drivers_keep_their_names(tmp_path: Path) -> None:
    names = ("anna", "ben", "cleo")
    source = write_images(replace(draw_people(3, 4, seed=0), driver_names=names), tmp_path / "people")
    canaries = insert(source, tmp_path / "given", "cabin", count=20)
    keys = driver_keys(read_shards(tmp_path / "given"))
    assert keys is not None
    assert keys[:12] == [name for name in names for _ in range(4)]
    assert keys[12:] == [f"canary {number}" for number in range(canaries.included.sum())]


def test_frames_without_drivers_are_refused(tmp_path: Path) -> None:
    source = write_images(replace(draw_people(3, 4, seed=0), subjects=None), tmp_path / "people")
    with pytest.raises(Refused, match="doesn't say whose frames they are"):
        insert(source, tmp_path / "given", "cabin", count=20)
    assert not (tmp_path / "given").exists()
