"""A manifest is read back as written, and anything odd in one is refused in a line that says what and why."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import (
    MANIFEST,
    FileEntry,
    Manifest,
    Sampler,
    digest_of,
    open_checked,
    read_manifest,
    write_manifest,
)
from contract.errors import Refused
from contract.files import sha256_of, write_whole
from contract.frames import ImageShape
from contract.schemas import CABIN

CONTENT = b"a graph"


def a_manifest() -> Manifest:
    sampler = Sampler((999, 666, 333), (0.0, 0.25, 0.75), "x0", 2.0)
    entry = FileEntry(hashlib.sha256(CONTENT).hexdigest(), "fp32", {"batch": [1, 8, 32]})
    parity = {
        "step.fp32.onnx": {"metric": "max_abs_difference_of_255", "tolerance": 1, "measured": 0.0, "conditions": 32}
    }
    return Manifest(ImageShape(3, 64, 48), CABIN, sampler, {"step.fp32.onnx": entry}, parity, {"checkpoint": "ab"})


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "step.fp32.onnx").write_bytes(CONTENT)
    write_manifest(tmp_path, a_manifest())
    return tmp_path


def change(bundle: Path, path: str, value: Any, seal: bool = True) -> None:
    """Set (or with `...` delete) one value of the manifest, with a fitting digest unless told otherwise."""
    data = json.loads((bundle / MANIFEST).read_text())
    *parents, last = path.split("/")
    place = data
    for key in parents:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    if seal and path != "digest":
        data["digest"] = digest_of(data)
    (bundle / MANIFEST).write_text(json.dumps(data))


def test_a_manifest_is_read_as_it_was_written(bundle: Path) -> None:
    assert read_manifest(bundle) == a_manifest()
    assert read_manifest(bundle).digest == json.loads((bundle / MANIFEST).read_text())["digest"]


def test_writing_leaves_no_temporary_file(bundle: Path) -> None:
    assert sorted(path.name for path in bundle.iterdir()) == [MANIFEST, "step.fp32.onnx"]


def test_whitespace_and_a_missing_digest_are_harmless(bundle: Path) -> None:
    change(bundle, "digest", ...)
    data = json.loads((bundle / MANIFEST).read_text())
    (bundle / MANIFEST).write_text(json.dumps(data, indent=7))
    assert read_manifest(bundle) == a_manifest()


def test_any_edited_value_is_refused_by_the_digest(bundle: Path) -> None:
    change(bundle, "sampler/guidance", 1.0, seal=False)
    with pytest.raises(Refused, match="digest doesn't fit"):
        read_manifest(bundle)


ODD = {
    "newer format": ("format", "dms-edge/bundle@2", "newer than .* update the software"),
    "other format": ("format", "something", "expected dms-edge/bundle@1"),
    "no format": ("format", ..., "expected dms-edge/bundle@1"),
    "unknown key": ("extra", 1, "unknown key 'extra'"),
    "missing key": ("sampler", ..., "without sampler"),
    "no object": ("image", [3, 64, 64], "expected an object"),
    "huge image": ("image/height", 4097, "from 1 to 4096"),
    "empty image": ("image/width", 0, "from 1 to 4096"),
    "float image": ("image/width", 64.0, "expected an integer"),
    "boolean channels": ("image/channels", True, "expected an integer"),
    "huge schema": ("schema/width", 4097, "width from 1 to 4096"),
    "reserved field": ("schema/fields/0/name", "seed", "field named 'seed'"),
    "no steps": ("sampler/timesteps", [], "0 timesteps"),
    "too many steps": ("sampler/timesteps", [1] * 10_001, "10001 timesteps"),
    "negative step": ("sampler/timesteps/0", -1, "timestep -1"),
    "alpha_bar over 1": ("sampler/alpha_bar/0", 1.5, "from 0 to 1"),
    "clip as number": ("sampler/clip", 1, "expected true or false"),
    "other sampler": ("sampler/kind", "euler", "expected ddim"),
    "other prediction": ("sampler/prediction", "noise", "expected one of epsilon"),
    "path": ("files", {"../etc/passwd": {"sha256": "0" * 64, "precision": None}}, "plain name"),
    "short hash": ("files/step.fp32.onnx/sha256", "abc", "64 hexadecimal"),
    "parity of nothing": ("parity/step.fp16.onnx", {}, "isn't among the files"),
    "source as list": ("source", [], "expected an object"),
}


@pytest.mark.parametrize(("path", "value", "message"), ODD.values(), ids=ODD)
def test_an_odd_manifest_is_refused(bundle: Path, path: str, value: Any, message: str) -> None:
    if path.startswith("schema/fields/0"):
        data = json.loads((bundle / MANIFEST).read_text())
        data["schema"]["fields"][0]["name"] = value
        for field in data["schema"]["fields"]:
            if field.get("given") == "fatigue_level":
                field["given"] = value
        data["digest"] = digest_of(data)
        (bundle / MANIFEST).write_text(json.dumps(data))
    elif path.endswith("/0"):
        name = path.split("/")[1]
        values = list(a_manifest().to_dict()["sampler"][name])
        change(bundle, path[:-2], [value, *values[1:]])
    else:
        change(bundle, path, value)
    with pytest.raises(Refused, match=message) as refusal:
        read_manifest(bundle)
    assert "\n" not in str(refusal.value) and "export" in str(refusal.value)


TEXTS = {
    "empty": b"",
    "cut": b'{"format": "dms-edge/bun',
    "random": bytes(range(256)),
    "list": b"[]",
    "deep": b"[" * 100_000,
    "nan": b'{"format": NaN}',
    "huge number": b'{"format": ' + b"9" * 5000 + b"}",
    "twice": b'{"format": "dms-edge/bundle@1", "format": "dms-edge/bundle@1"}',
}


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
def test_an_unreadable_manifest_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST).write_bytes(content)
    with pytest.raises(Refused, match=r"manifest\.json"):
        read_manifest(bundle)


def test_a_missing_bundle_and_a_missing_manifest_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such bundle"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(Refused, match="no such file"):
        read_manifest(tmp_path)


def test_a_file_is_opened_only_as_it_was_exported(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert open_checked(bundle, manifest, "step.fp32.onnx") == CONTENT
    assert sha256_of(bundle / "step.fp32.onnx") == manifest.files["step.fp32.onnx"].sha256
    (bundle / "step.fp32.onnx").write_bytes(CONTENT[:-1])
    with pytest.raises(Refused, match="sha256 is"):
        open_checked(bundle, manifest, "step.fp32.onnx")
    (bundle / "step.fp32.onnx").unlink()
    with pytest.raises(Refused, match="missing"):
        open_checked(bundle, manifest, "step.fp32.onnx")
    with pytest.raises(Refused, match="not in the manifest"):
        open_checked(bundle, manifest, "step.fp16.onnx")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    (tmp_path / "file.tmp").mkdir()  # the temporary name is taken, so the write can't even begin
    with pytest.raises(OSError):
        write_whole(target, b"new")
    assert target.read_bytes() == b"old"


def test_a_dataset_goes_on_after_another_export_of_the_same_files(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    (file,) = [name for name in manifest.files if name.startswith("step.")]
    again = replace(manifest, parity={file: {"measured": 0.5}}, source={})
    assert again.digest != manifest.digest
    assert again.frames_digest(file) == manifest.frames_digest(file)
    other = replace(manifest, sampler=replace(manifest.sampler, clip=not manifest.sampler.clip))
    assert other.frames_digest(file) != manifest.frames_digest(file)
