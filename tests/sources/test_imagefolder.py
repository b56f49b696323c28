"""Folders of images with their labels are read as they are, or refused with the line that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contract.errors import Refused
from sources.imagefolder import read_source
from tests.seat_source import seat_source
from tests.sources.folders import write_images, write_shards
from tests.training.grey_source import grey_source


def test_frames_of_any_shape_come_back_with_their_labels(tmp_path: Path) -> None:
    source = seat_source(6)
    found = read_source(write_images(source, tmp_path / "seats"), "cabin")
    assert found.schema == source.schema, "named by the folder"
    assert found.image == (1, 16, 24)
    assert np.array_equal(found.frames, source.frames)
    assert np.allclose(found.conditions, source.conditions, atol=1e-6)
    assert np.array_equal(found.hidden, source.hidden)


def test_shards_come_back_whole(tmp_path: Path) -> None:
    source = seat_source(6)
    found = read_source(write_shards(source, tmp_path / "seats"), "cabin")
    assert (found.schema, found.landmarks, found.fingerprint) == (source.schema, source.landmarks, source.fingerprint)
    assert found.points is not None and np.array_equal(found.points, source.points)


def test_a_broken_folder_names_its_line(tmp_path: Path) -> None:
    folder = write_images(grey_source(2), tmp_path / "greys")
    first = json.loads((folder / "metadata.jsonl").read_text().splitlines()[0])

    def refused(content: str) -> str:
        (folder / "metadata.jsonl").write_text(content + "\n")
        with pytest.raises(Refused) as error:
            read_source(folder, "cabin")
        return str(error.value)

    assert "metadata.jsonl:1: no fatigue_level" in refused('{"file_name": "a.png"}')
    assert "lighting=dusk: expected one of day" in refused(json.dumps(first | {"lighting": "dusk"}))
    assert "frames/9.png: no such image" in refused(json.dumps(first | {"file_name": "frames/9.png"}))
    assert "expected one object a line" in refused("[]")


def test_a_folder_of_something_else_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"neither shards.json nor metadata.jsonl"):
        read_source(tmp_path, "cabin")
