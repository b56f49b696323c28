"""A bundle's folder is replaced whole or left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contract.errors import Refused
from export.bundle import replacing


def _write(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    (folder / "step.fp32.onnx").write_text(text)


def test_made_with_its_parents(tmp_path: Path) -> None:
    with replacing(tmp_path / "a" / "b") as part:
        _write(part, "new")
        assert not (tmp_path / "a" / "b").exists()
    assert os.listdir(tmp_path / "a") == ["b"] and (tmp_path / "a/b/manifest.json").read_text() == "new"


@pytest.mark.parametrize("before", ["an empty folder", "a bundle", "a damaged bundle"])
def test_an_older_bundle_is_replaced(tmp_path: Path, before: str) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    if before != "an empty folder":
        _write(target, "old")
        (target / "step.fp16.tensorrt.sm87.b1-4-8.engine").touch()
        (target / "verified.json").touch()
        (target / "verified.json.0123abcd.tmp").touch()
    if before == "a damaged bundle":
        (target / "manifest.json").unlink()
    with replacing(target) as part:
        _write(part, "new")
    assert os.listdir(tmp_path) == ["bundle"]
    assert sorted(os.listdir(target)) == ["manifest.json", "step.fp32.onnx"]
    assert (target / "manifest.json").read_text() == "new"


@pytest.mark.parametrize("stranger", ["notes.txt", "metadata.jsonl", "frames/", ".git/", "step.fp32.onnx.bak"])
def test_a_folder_with_anything_else_is_refused_before_work(tmp_path: Path, stranger: str) -> None:
    _write(tmp_path, "old")
    path = tmp_path / stranger
    path.mkdir() if stranger.endswith("/") else path.touch()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(Refused, match=f"holds '{stranger.strip('/')}'"), replacing(tmp_path):
        pytest.fail("the block must not run")
    assert sorted(os.listdir(tmp_path)) == before


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle").touch()
    with pytest.raises(Refused, match="a file; expected a folder"), replacing(tmp_path / "bundle"):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError, Refused])
def test_a_failure_leaves_what_was_there(tmp_path: Path, failure: type[BaseException]) -> None:
    (tmp_path / "bundle").mkdir()
    _write(tmp_path / "bundle", "old")
    for target in (tmp_path / "bundle", tmp_path / "x" / "y"):
        with pytest.raises(failure), replacing(target) as part:
            _write(part, "new")
            raise failure
    assert os.listdir(tmp_path) == ["bundle"]
    assert (tmp_path / "bundle" / "manifest.json").read_text() == "old"


def test_a_stranger_that_arrives_during_the_export_survives(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    with pytest.raises(Refused, match=r"holds 'notes\.txt'"), replacing(target) as part:
        _write(part, "new")
        (target / "notes.txt").touch()
    assert os.listdir(target) == ["notes.txt"] and os.listdir(tmp_path) == ["bundle"]
