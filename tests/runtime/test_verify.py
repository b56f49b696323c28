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
from contract.parity import (
    fifth_percentile_psnr,
    max_abs_difference,
    mean_abs_difference,
    pooled_psnr,
    worst_psnr,
)
from contract.schemas import CABIN
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
    "no frames": ({"frames": None}, "not readable"),
    "float frames": ({"frames": np.zeros((4, 16, 16, 3), np.float32)}, "expected float32"),
    "other size": ({"frames": np.zeros((4, 8, 8, 3), np.uint8)}, "expected float32"),
    "more frames": ({"frames": np.zeros((5, 16, 16, 3), np.uint8)}, "expected float32"),
    "none at all": (
        {"frames": np.zeros((0, 16, 16, 3), np.uint8), "conditions": np.zeros((0, CABIN.width), np.float32)},
        "expected float32",
    ),
    "other width": ({"conditions": np.zeros((4, 10), np.float32)}, "expected float32"),
    "nan": ({"conditions": np.full((4, CABIN.width), np.nan, np.float32)}, "is the worst"),
    "negative seed": ({"seed": np.int64(-1)}, "seed"),
    "seed as text": ({"seed": np.array("1")}, "expected float32"),
    "objects": ({"seed": np.array(None, dtype=object)}, "not readable"),
}


@pytest.mark.parametrize(("changes", "message"), ODD.values(), ids=ODD)
def test_an_odd_reference_is_refused(
    own_bundle: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    rewritten(own_bundle, **changes)
    assert main([str(own_bundle), "--backend", "cpu"]) in (1, 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error


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


@pytest.mark.parametrize(("options", "status"), [(["--precision", "fp32"], 0), (["--precision", "fp16"], 1)])
def test_one_precision_may_be_asked_for(
    own_bundle: Path, capsys: pytest.CaptureFixture[str], options: list[str], status: int
) -> None:
    assert main([str(own_bundle), "--backend", "cpu", *options]) == status
    if status:
        error = capsys.readouterr().err
        assert "no file of precision fp16" in error and "python -m export" in error and error.count("\n") == 1


def as_precision(bundle: Path, precision: str, parity: dict[str, Any]) -> None:
    """The same step graph under another precision, whose gates then hold."""
    manifest = read_manifest(bundle)
    name = f"step.{precision}.onnx"
    (bundle / "step.fp32.onnx").rename(bundle / name)
    entry = FileEntry(manifest.files["step.fp32.onnx"].sha256, precision)
    files = {name: entry, "reference.npz": manifest.files["reference.npz"]}
    write_manifest(bundle, replace(manifest, files=files, parity={name: parity} if parity else {}))


def with_noise(bundle: Path, levels: int, frames: int) -> None:
    """Move the first reference frames by so many levels, towards the middle so that none is clipped."""
    with np.load(bundle / "reference.npz") as arrays:
        moved = arrays["frames"].astype(int)
    moved[:frames] += np.where(moved[:frames] < 128, levels, -levels)
    rewritten(bundle, frames=moved.astype(np.uint8))


PSNR = [
    ("fp16", 0, 4, 0),
    ("fp16", 2, 4, 0),  # 20 log10(255 / 2) = 42.1 dB
    ("fp16", 3, 4, 1),  # 38.6 dB, 40 are asked for
    ("fp16", 9, 1, 1),  # one frame of four at 29.0 dB, though the pool is at 35
    ("int8", 7, 4, 0),  # 31.2 dB
    ("int8", 9, 4, 1),  # 29.0 dB, 30 are asked for
]


@pytest.mark.parametrize(("precision", "levels", "frames", "status"), PSNR)
@pytest.mark.parametrize("told", [False, True], ids=["usual gates", "gates in the manifest"])
def test_each_precision_has_its_gates(
    own_bundle: Path, precision: str, levels: int, frames: int, status: int, told: bool
) -> None:
    with_noise(own_bundle, levels, frames)
    tolerance = {"fp16": 40, "int8": 30}[precision]
    as_precision(own_bundle, precision, {"metric": "pooled_psnr_db", "tolerance": tolerance} if told else {})
    assert main([str(own_bundle), "--backend", "cpu"]) == status


def test_a_broken_frame_fails_though_the_pool_is_good(own_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_noise(own_bundle, 100, 1)
    as_precision(own_bundle, "fp16", {"metric": "pooled_psnr_db", "tolerance": 1})
    assert main([str(own_bundle), "--backend", "cpu"]) == 1
    error = capsys.readouterr().err
    assert "worst_psnr_db 8.1" in error and "expected at least 30; condition 0 is the worst" in error


def test_psnr_has_the_values_worked_out_by_hand() -> None:
    expected = np.full((2, 2, 2, 3), 100, np.uint8)
    found = expected.copy()
    found[0] += 3  # mean squared error 9 and 0, pooled 4.5
    assert pooled_psnr(found, expected) == pooled_psnr(expected, found) == pytest.approx(41.5986, abs=1e-4)
    assert worst_psnr(found, expected) == pytest.approx(38.5884, abs=1e-4)
    assert pooled_psnr(expected, expected) == 100.0
    assert fifth_percentile_psnr(found, expected) == pytest.approx(38.5884 + 0.05 * (100 - 38.5884), abs=1e-4)
    one_off = np.concatenate([found[1:]] * 39 + [found[:1]])
    assert fifth_percentile_psnr(one_off, np.concatenate([expected[:1]] * 40)) == 100.0


def test_metrics_have_the_values_worked_out_by_hand() -> None:
    found, expected = np.array([[0, 255, 10]], np.uint8), np.array([[2, 254, 10]], np.uint8)
    assert max_abs_difference(found, expected) == max_abs_difference(expected, found) == 2
    assert mean_abs_difference(found, expected) == mean_abs_difference(expected, found) == 1


def test_a_reference_that_unpacks_to_too_much_is_refused(own_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = io.BytesIO()
    np.savez_compressed(file, conditions=np.zeros(1 << 25, np.float32), frames=np.zeros(1), seed=0)
    seal(own_bundle, file.getvalue())
    assert main([str(own_bundle)]) == 1
    assert "unpacks to 134218" in capsys.readouterr().err
