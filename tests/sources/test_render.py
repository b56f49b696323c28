"""A folder of rendered frames goes on where it stopped, and refuses another plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import Refused
from sources.cartoon.render import render
from sources.shards import read_shards


def test_rendering_goes_on_and_refuses_another_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sources.cartoon.render.SHARD", 2)
    monkeypatch.setattr("shutil.which", lambda name: None)  # compiling pays from hundreds of frames on
    assert render(tmp_path / "frames", 3, 16, 1, "cabin") == 4
    before = read_shards(tmp_path / "frames")
    (tmp_path / "frames" / "shard-00001.npz").unlink()
    render(tmp_path / "frames", 4, 16, 1, "cabin")
    after = read_shards(tmp_path / "frames")
    assert before.fingerprint == after.fingerprint and len(after.frames) == 4
    with pytest.raises(Refused, match="describes other frames"):
        render(tmp_path / "frames", 4, 16, 2, "cabin")
