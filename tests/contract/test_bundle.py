"""A manifest is read back as written, and anything odd in one is refused in a line that says what and why."""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.bundle import (
    MANIFEST,
    FileEntry,
    Latent,
    Manifest,
    Sampler,
    digest_of,
    open_checked,
    read_manifest,
    write_manifest,
)
from contract.errors import Refused
from contract.files import sha256_of, whole_file, write_whole
from contract.frames import ImageShape
from contract.schedule import PREDICTIONS
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
    """Set (or with `...` delete) one value of the manifest, with a fitting digest unless `seal` is false."""
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
    "unknown key": ("extra", 1, "unknown field extra"),
    "missing key": ("sampler", ..., "missing required field sampler"),
    "no object": ("image", [3, 64, 64], "image with 3 values; expected object, got array"),
    "huge image": ("image/height", 4097, "image.height 4097; expected int <= 4096"),
    "empty image": ("image/width", 0, "image.width 0; expected int >= 1"),
    "float image": ("image/width", 64.0, "image.width 64.0; expected int, got float"),
    "boolean channels": ("image/channels", True, "image.channels True; expected int, got bool"),
    "huge schema": ("schema/width", 4097, "width 4097; expected int <= 4096"),
    "reserved field": ("schema/fields/0/name", "seed", "field named 'seed'"),
    "no steps": ("sampler/timesteps", [], "timesteps with 0 values; expected array of length >= 1"),
    "too many steps": (
        "sampler/timesteps",
        [1] * 10_001,
        "with 10001 values; expected array of length <= 10000",
    ),
    "negative step": ("sampler/timesteps/0", -1, "timesteps.0. -1; expected int >= 0"),
    "alpha_bar over 1": ("sampler/alpha_bar/0", 1.5, "alpha_bar.0. 1.5; expected float <= 1.0"),
    "clip as number": ("sampler/clip", 1, "clip 1; expected bool, got int"),
    "other sampler": ("sampler/kind", "euler", "kind 'euler'; expected one of ddim"),
    "other prediction": ("sampler/prediction", "noise", "prediction 'noise'; expected one of epsilon, v, x0"),
    "path": (
        "files",
        {"../etc/passwd": {"sha256": "0" * 64, "precision": None}},
        "a key of files; expected a plain file name",
    ),
    "short hash": ("files/step.fp32.onnx/sha256", "abc", "sha256 'abc'; expected 64 hexadecimal digits"),
    "parity of nothing": ("parity/step.fp16.onnx", {}, "isn't among the files"),
    "source as list": ("source", [], "source with 0 values; expected object, got array"),
}


@pytest.mark.parametrize(("path", "value", "message"), ODD.values(), ids=ODD)
def test_an_odd_manifest_is_refused(bundle: Path, path: str, value: Any, message: str) -> None:
    if path.startswith("schema/fields/0"):
        data = json.loads((bundle / MANIFEST).read_text())
        fields = data["schema"]["fields"]
        renamed = json.dumps(fields).replace(json.dumps(fields[0]["name"]), json.dumps(value))
        data["schema"]["fields"] = json.loads(renamed)
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


@st.composite
def any_manifest(draw: st.DrawFn) -> Manifest:
    """Manifests with any sampler that can be stored, files with odd extras, and a latent or none."""
    alpha_bar = draw(st.lists(st.floats(0, 1), min_size=1, max_size=4))
    sampler = Sampler(
        tuple(draw(st.lists(st.integers(0, 999), min_size=len(alpha_bar), max_size=len(alpha_bar)))),
        tuple(alpha_bar),
        draw(st.sampled_from(PREDICTIONS)),
        draw(st.floats(0, 100)),
        draw(st.booleans()),
        clip_range=draw(st.floats(0.1, 100)),
        rederive=draw(st.booleans()),
        final_alpha_bar=draw(st.floats(0, 1)),
    )
    plain = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4)
    extra = st.dictionaries(st.text().filter(lambda key: key not in ("sha256", "precision")), plain, max_size=3)
    entries = st.builds(FileEntry, st.just("0" * 64), st.none() | st.text(max_size=5), extra)
    files = draw(st.dictionaries(st.sampled_from(["step.fp32.onnx", "a", "b-1+2.engine"]), entries))
    parity = {name: {"measured": 1.5} for name in files}
    latent = draw(st.none() | st.builds(Latent, st.just(4), st.just(8), st.just(16), st.floats(0.1, 10)))
    image = ImageShape(draw(st.sampled_from([1, 3])), draw(st.integers(1, 4096)), 32)
    source = {"checkpoint": "ab", "lineage": draw(extra), "assumed": {"schedule": "linear"}}
    return Manifest(image, CABIN, sampler, files, parity, source, latent)


@given(manifest=any_manifest())
@settings(max_examples=100)
def test_any_manifest_survives_json(manifest: Manifest) -> None:
    read = Manifest.from_dict(json.loads(json.dumps(manifest.to_dict())))
    assert read == manifest and read.digest == manifest.digest
    assert read.x_shape == (manifest.latent.shape if manifest.latent else manifest.image)


ABSURD: list[Any] = [None, True, -1, 10**400, 1e308, math.nan, "", "ddim", "\ud800", [], {}, [[]], {"a": 1}, ["x"] * 50]


@given(data=st.data())
@settings(max_examples=300)
def test_an_absurd_manifest_is_refused_or_survives(data: st.DataObject) -> None:
    mutated = json.loads(json.dumps(a_manifest().to_dict()))
    place = mutated
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    if data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(st.sampled_from(ABSURD))
    try:
        read = Manifest.from_dict(mutated)
    except Refused as refusal:
        assert "\n" not in str(refusal)
        return
    assert Manifest.from_dict(read.to_dict()) == read


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


def test_a_missing_bundle_and_a_missing_manifest_differ(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no such bundle"):
        read_manifest(tmp_path / "nowhere")
    (tmp_path / "ckpt.pt").touch()
    with pytest.raises(Refused, match=r"a file, no bundle; .* python -m export .*ckpt.pt -o bundle"):
        read_manifest(tmp_path / "ckpt.pt")
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
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2, limits[1]))  # like a disk that is full after two bytes
    try:
        with pytest.raises(OSError):
            write_whole(target, b"new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_missing_folder_is_named_with_the_file_that_was_to_lie_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as found:
        write_whole(tmp_path / "nowhere" / "report.html", b"")
    assert found.value.filename == str(tmp_path / "nowhere" / "report.html")


def test_of_two_writers_at_a_time_the_last_ones_file_stays_whole(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file") as one:
        one.write(b"one")
        with whole_file(tmp_path / "file") as two:
            two.write(b"two, which is longer")
        assert (tmp_path / "file").read_bytes() == b"two, which is longer"
    assert (tmp_path / "file").read_bytes() == b"one" and os.listdir(tmp_path) == ["file"]


def test_a_dataset_goes_on_after_another_export_of_the_same_files(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    (file,) = [name for name in manifest.files if name.startswith("step.")]
    again = replace(manifest, parity={file: {"measured": 0.5}}, source={})
    assert again.digest != manifest.digest
    assert again.frames_digest(file) == manifest.frames_digest(file)
    other = replace(manifest, sampler=replace(manifest.sampler, clip=not manifest.sampler.clip))
    assert other.frames_digest(file) != manifest.frames_digest(file)
