"""What the arms are called, and what they do to frames."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from audit.utility.arms import arms_of, augmented, joined, shuffled
from audit.utility.inputs import read_real, read_synthetic, resized, task_frames
from audit.utility.plan import Protocol
from contract.errors import Refused
from sources.shards import read_shards
from tests.audit.utility.conftest import Folders

ROUNDING = 1.0
"""Levels: rows and columns are averaged one after the other, and each pass rounds by half a level at most."""


def test_names_say_how_many_frames() -> None:
    arms = arms_of(Protocol(), 3000, synthetic=True, private=False)
    assert arms["real_and_synthetic"] == "1000 real + 9000 synthetic" and arms["synthetic"] == "10000 synthetic"
    assert arms["more_real"] == "4000 real (ceiling)" and "private" not in arms
    assert "more_real" not in arms_of(Protocol(), 0, synthetic=False, private=True)


def test_augmented_frames_keep_their_labels_and_change_their_pixels(folders: Folders) -> None:
    source = task_frames(read_real(folders.real, (), 16))
    found = augmented(source, 100, np.random.default_rng(0))
    assert found.frames.shape == source.frames.shape and found.frames.dtype == np.uint8
    assert np.array_equal(found.frames[:100], source.frames[:100])
    assert (found.frames[100:] != source.frames[100:]).any(axis=(1, 2, 3)).all()
    assert found.conditions is source.conditions


def test_joined_and_shuffled_frames(folders: Folders) -> None:
    source = task_frames(read_real(folders.real, (), 16))
    both = joined(source, source)
    assert len(both.frames) == len(both.conditions) == len(both.hidden) == 2000 and both.subjects is None
    mixed = shuffled(source, np.random.default_rng(0))
    assert np.array_equal(np.sort(mixed.conditions, axis=0), np.sort(source.conditions, axis=0))
    assert np.array_equal(mixed.frames, source.frames) and not np.array_equal(mixed.conditions, source.conditions)


def test_frames_shrink_by_areas(folders: Folders) -> None:
    source = read_shards(folders.real)
    small = resized(source, 8)
    means = source.frames[0].reshape(8, 2, 8, 2, 3).mean(axis=(1, 3))
    assert small.frames.shape == (1000, 8, 8, 3) and np.abs(small.frames[0] - means).max() <= ROUNDING
    with pytest.raises(Refused, match="squares of 32 pixels or more"):
        resized(source, 32)


def test_drivers_have_to_be_known(folders: Folders) -> None:
    real = read_real(folders.real, (), 16)
    with pytest.raises(Refused, match="no drivers"):
        _ = replace(real, frames=replace(real.frames, subjects=None)).drivers


def test_other_classes_are_refused(folders: Folders, tmp_path: Path) -> None:
    real = read_real(folders.real, (), 16)
    field = real.frames.schema.field("fatigue_level")
    other = tuple(replace(f, codes=f.codes[::-1]) if f is field else f for f in real.frames.schema.fields)
    shards = folders.synthetic / "shards.json"
    (tmp_path / "shards.json").write_text(
        json.dumps(json.loads(shards.read_text()) | {"schema": replace(real.frames.schema, fields=other).to_dict()})
    )
    for shard in folders.synthetic.glob("*.npz"):
        shutil.copy(shard, tmp_path)
    with pytest.raises(Refused, match="other classes of fatigue_level"):
        read_synthetic(tmp_path, real, 16)


def test_a_role_that_the_schema_lacks_is_named(folders: Folders, tmp_path: Path) -> None:
    text = (folders.real / "shards.json").read_text().replace('"role": "distraction"', '"role": null')
    (tmp_path / "shards.json").write_text(text)
    for shard in folders.real.glob("*.npz"):
        shutil.copy(shard, tmp_path)
    with pytest.raises(Refused, match="the role distraction; name the fields with --tasks"):
        read_real(tmp_path, (), 16)
    assert read_real(tmp_path, ("fatigue_level", "distraction_type"), 16).tasks == ("fatigue_level", "distraction_type")


def test_frames_that_are_tested_on_are_never_trained_on(folders: Folders, tmp_path: Path) -> None:
    real = read_real(folders.real, (), 16)
    with pytest.raises(Refused, match="of the same people as the real frames"):
        read_synthetic(folders.real, real, 16)
    description = json.loads((folders.real / "shards.json").read_text())
    (tmp_path / "shards.json").write_text(json.dumps(description | {"origin": {"renderer": "drawn"}}))
    for shard in folders.real.glob("*.npz"):
        shutil.copy(shard, tmp_path)
    with pytest.raises(Refused, match="frame 0 is one of pseudo-real"):
        read_synthetic(tmp_path, real, 16)
