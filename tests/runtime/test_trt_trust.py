"""No engine draws before it was verified on this device, and none that draws other frames does at all."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from contract.bundle import read_manifest, write_manifest
from contract.errors import ParityError, Refused
from runtime import Generator
from runtime.verify import main as verify
from tests.runtime.engine_bundle import FROM_TWO, PROFILE, Install, add_engine, altered, onnx_of
from tests.runtime.fake_tensorrt import plan


def test_an_unverified_engine_is_verified_before_its_first_use_and_once(
    own_bundle: Path, install: Install, tmp_path: Path
) -> None:
    name = add_engine(own_bundle, plan(onnx_of(own_bundle), FROM_TWO), FROM_TWO, verified=False)
    install()
    with Generator.open(own_bundle, "trt", state=tmp_path / "s") as generator:
        assert set(generator.details()["cuda_graphs"]) == {"2", "4", "8"}  # min, opt and max
    report = json.loads((tmp_path / "s" / "verified.json").read_text())
    assert report["bundle"] == read_manifest(own_bundle).digest
    (entry,) = report["replayed"]
    assert (entry["file"], entry["backend"], entry["batches"], entry["verified"]) == (name, "trt", [2, 4, 8], True)
    install()
    with Generator.open(own_bundle, "trt", state=tmp_path / "s") as generator:
        assert generator.details()["cuda_graphs"] == {}  # nothing was run
    assert not (own_bundle / "verified.json").exists()
    install()
    Generator.open(own_bundle, "trt").close()
    assert (own_bundle / "verified.json").exists()


def test_another_device_verifies_anew(own_bundle: Path, install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), verified=False)
    install()
    Generator.open(own_bundle, "trt").close()
    trt = install()
    trt.gpu.device = replace(trt.gpu.device, name="another")
    with Generator.open(own_bundle, "trt") as generator:
        assert generator.details()["cuda_graphs"]
    assert len(json.loads((own_bundle / "verified.json").read_text())["replayed"]) == 2


def test_an_engine_that_another_device_verified_is_compared_here(own_bundle: Path, install: Install) -> None:
    name = add_engine(own_bundle, plan(altered(), PROFILE))
    manifest = read_manifest(own_bundle)
    there = {name: {"verified": True, "device": "trt, another GPU"}}
    write_manifest(own_bundle, replace(manifest, parity={**manifest.parity, **there}))
    install()
    with pytest.raises(ParityError, match="is the worst"):
        Generator.open(own_bundle, "trt")


def test_an_engine_that_draws_other_frames_is_never_used(own_bundle: Path, install: Install) -> None:
    add_engine(own_bundle, plan(altered(), PROFILE), verified=False)
    for _ in range(2):  # a failure isn't forgotten, nor is it taken for a success
        trt = install()
        with pytest.raises(ParityError, match=r"expected at most 1; condition \d+ is the worst"):
            Generator.open(own_bundle, "trt")
        assert trt.gpu.closed
    assert not json.loads((own_bundle / "verified.json").read_text())["replayed"][0]["verified"]


def test_what_verified_another_bundle_vouches_for_none(own_bundle: Path, install: Install, tmp_path: Path) -> None:
    name = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), verified=False)
    install()
    Generator.open(own_bundle, "trt", state=tmp_path / "s").close()
    assert add_engine(own_bundle, plan(altered(), PROFILE), verified=False) == name
    install()
    with pytest.raises(ParityError, match="is the worst"):
        Generator.open(own_bundle, "trt", state=tmp_path / "s")


def test_a_read_only_bundle_asks_for_a_place(own_bundle: Path, install: Install, tmp_path: Path) -> None:
    name = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), verified=False)
    if os.geteuid() == 0:
        (own_bundle / "verified.json").mkdir()  # root may write anywhere but there
    else:
        own_bundle.chmod(0o500)
    install()
    with pytest.raises(Refused, match=r"verified\.json.*--state DIR"):
        Generator.open(own_bundle, "trt")
    install()
    with Generator.open(own_bundle, "trt", state=tmp_path / "state") as generator:
        assert generator.choice.file == name


def test_verify_replays_every_engine_that_fits(
    own_bundle: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install()
    good = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), verified=False)
    other = add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), target=["sm86"], verified=False)
    assert verify([str(own_bundle), "--backend", "trt", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [entry["file"] for entry in report["replayed"]] == [good] and report["hashed"] == 4
    assert "built for sm86, found sm87 here" in report["skipped"][f"trt {other}"]


def test_any_file_that_was_not_verified_is_verified_first(own_bundle: Path) -> None:
    """Also a step graph on the CPU: fp16, say, which was only emulated where it was exported."""
    manifest = read_manifest(own_bundle)
    unverified = {**manifest.parity, "step.fp32.onnx": {**manifest.parity["step.fp32.onnx"], "verified": False}}
    write_manifest(own_bundle, replace(manifest, parity=unverified))
    Generator.open(own_bundle, "cpu").close()
    (entry,) = json.loads((own_bundle / "verified.json").read_text())["replayed"]
    assert (entry["file"], entry["backend"], entry["conditions"]) == ("step.fp32.onnx", "cpu", 4)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"replayed": [1]}', b"null"])
def test_a_damaged_verified_json_is_as_good_as_none(own_bundle: Path, install: Install, content: bytes) -> None:
    add_engine(own_bundle, plan(onnx_of(own_bundle), PROFILE), verified=False)
    (own_bundle / "verified.json").write_bytes(content)
    install()
    Generator.open(own_bundle, "trt").close()
    assert json.loads((own_bundle / "verified.json").read_text())["replayed"][0]["verified"]
