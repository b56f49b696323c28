"""`python -m runtime.verify`: it hashes everything, draws the reference again, and fails when either differs."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.bundle import FileEntry, read_manifest, write_manifest
from runtime.replay import max_abs_difference, mean_abs_difference
from runtime.verify import main


def rewritten(bundle: Path, **changes: Any) -> None:
    """Change arrays of the reference (or drop them with None), honestly hashed."""
    with np.load(bundle / "reference.npz") as arrays:
        content = {**arrays, **changes}
    file = io.BytesIO()
    np.savez(file, **{name: value for name, value in content.items() if value is not None})
    seal(bundle, file.getvalue())


def seal(bundle: Path, content: bytes) -> None:
    (bundle / "reference.npz").write_bytes(content)
    manifest = read_manifest(bundle)
    entry = FileEntry(hashlib.sha256(content).hexdigest())
    write_manifest(bundle, replace(manifest, files={**manifest.files, "reference.npz": entry}))


def test_a_good_bundle_is_verified_beside_its_manifest(own_bundle: Path) -> None:
    assert main([str(own_bundle)]) == 0
    report = json.loads((own_bundle / "verified.json").read_text())
    assert report["bundle"] == read_manifest(own_bundle).digest and report["hashed"] == 2
    entry = next(entry for entry in report["replayed"] if entry["backend"] == "cpu")
    assert entry["verified"] and entry["measured"] <= entry["tolerance"] == 1 and entry["conditions"] == 4
    assert main([str(own_bundle)]) == 0


def test_state_keeps_the_bundle_untouched(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(path.name for path in bundle.iterdir())
    assert main([str(bundle), "--state", str(tmp_path / "state"), "--backend", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "state" / "verified.json").read_text())
    assert sorted(path.name for path in bundle.iterdir()) == before


def test_frames_beyond_the_tolerance_fail(own_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(own_bundle / "reference.npz") as arrays:
        rewritten(own_bundle, frames=arrays["frames"] ^ 2)
    assert main([str(own_bundle), "--backend", "cpu"]) == 1
    assert "max_abs_difference_of_255 2, expected at most 1" in capsys.readouterr().err
    assert not json.loads((own_bundle / "verified.json").read_text())["replayed"][0]["verified"]


@pytest.mark.parametrize("name", ["step.fp32.onnx", "reference.npz"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_an_altered_file_is_named(own_bundle: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str) -> None:
    content = bytearray((own_bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (own_bundle / name).write_bytes(content if damage == "flip" else content[:-1])
    if damage == "remove":
        (own_bundle / name).unlink()
    assert main([str(own_bundle)]) == 1
    error = capsys.readouterr().err
    assert name in error and ("missing" if damage == "remove" else "altered") in error and error.count("\n") == 1
    assert not (own_bundle / "verified.json").exists()


ODD = {
    "no frames": {"frames": None},
    "float frames": {"frames": np.zeros((4, 16, 16, 3), np.float32)},
    "other size": {"frames": np.zeros((4, 8, 8, 3), np.uint8)},
    "more frames": {"frames": np.zeros((5, 16, 16, 3), np.uint8)},
    "none at all": {"frames": np.zeros((0, 16, 16, 3), np.uint8), "conditions": np.zeros((0, 26), np.float32)},
    "other width": {"conditions": np.zeros((4, 10), np.float32)},
    "nan": {"conditions": np.full((4, 26), np.nan, np.float32)},
    "negative seed": {"seed": np.int64(-1)},
    "seed as text": {"seed": np.array("1")},
    "objects": {"seed": np.array(None, dtype=object)},
}


@pytest.mark.parametrize("changes", ODD.values(), ids=ODD)
def test_an_odd_reference_is_refused(
    own_bundle: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    rewritten(own_bundle, **changes)
    assert main([str(own_bundle), "--backend", "cpu"]) in (1, 2)
    assert capsys.readouterr().err.count("\n") == 1


def test_fewer_frames_than_conditions_will_do(own_bundle: Path) -> None:
    """A network that draws slowly has fewer reference frames; the conditions are then those of the first frames."""
    with np.load(own_bundle / "reference.npz") as arrays:
        rewritten(own_bundle, frames=arrays["frames"][:3])
    assert main([str(own_bundle), "--backend", "cpu"]) == 0
    assert json.loads((own_bundle / "verified.json").read_text())["replayed"][0]["conditions"] == 3


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive"])
def test_an_unreadable_reference_is_refused(
    own_bundle: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    seal(own_bundle, content)
    assert main([str(own_bundle), "--backend", "cpu"]) == 1
    assert "not readable" in capsys.readouterr().err


def test_metrics_have_the_values_worked_out_by_hand() -> None:
    found, expected = np.array([[0, 255, 10]], np.uint8), np.array([[2, 254, 10]], np.uint8)
    assert max_abs_difference(found, expected) == max_abs_difference(expected, found) == 2
    assert mean_abs_difference(found, expected) == mean_abs_difference(expected, found) == 1
