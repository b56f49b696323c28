"""Latent models: the decoder is a file of the bundle, and every engine makes frames of the last x."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from contract.bundle import Manifest, read_manifest
from contract.errors import Refused
from contract.noise import initial_noises
from contract.parity import read_reference
from export.__main__ import main
from export.trt import main as export_trt
from models.checkpoint import read_checkpoint
from runtime import Generator
from tests.models.importers.originals import latent_folder
from tests.runtime.host_cpu import needs_openvino

STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("latent")
    latent_folder(folder / "model", "AutoencoderTiny")
    command = [str(folder / "model"), "-o", str(folder / "b"), "--steps", str(STEPS), "--trajectory"]
    assert main(command) == 0
    return folder


@pytest.fixture
def manifest(folder: Path) -> Manifest:
    return read_manifest(folder / "b")


def test_manifest(folder: Path, manifest: Manifest) -> None:
    latent = read_checkpoint(folder / "model").latent
    assert manifest.latent == latent and latent is not None and latent.scale == 0.5
    assert tuple(manifest.image) == (3, 16, 16) and manifest.x_shape == (4, 8, 8)
    assert set(manifest.files) == {"step.fp32.onnx", "decoder.fp32.onnx", "trajectory.fp32.onnx", "reference.npz"}
    step = onnxruntime.InferenceSession(folder / "b" / "step.fp32.onnx")
    assert [port.name for port in step.get_outputs()] == ["x_next"]


@pytest.mark.parametrize("backend", ["cpu", pytest.param("openvino", marks=needs_openvino)])
def test_the_runtime_decodes_the_last_x(folder: Path, manifest: Manifest, backend: str, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(folder / "b", tmp_path / "b"))
    reference = read_reference(bundle, manifest)
    with Generator.open(bundle, backend=backend, precision="fp32") as generator:
        drawn = generator.generate(reference.conditions[:5], seed=reference.seed)
    assert reference.frames.std() > 20
    assert np.abs(drawn.astype(int) - reference.frames[:5]).max() <= 1


def test_the_trajectory_holds_the_decoder(folder: Path, manifest: Manifest) -> None:
    reference = read_reference(folder / "b", manifest)
    session = onnxruntime.InferenceSession(folder / "b" / "trajectory.fp32.onnx")
    noise = initial_noises(reference.seed, range(3), manifest.x_shape)
    (frames,) = session.run(["frame"], {"noise": noise, "condition": reference.conditions[:3]})
    assert np.abs(frames.astype(int) - reference.frames[:3]).max() <= 1


def test_another_decoder_is_refused(folder: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(folder / "b", tmp_path / "b"))
    (bundle / "decoder.fp32.onnx").write_bytes((bundle / "step.fp32.onnx").read_bytes())
    with pytest.raises(Refused, match=r"decoder\.fp32\.onnx: sha256"):
        Generator.open(bundle, backend="cpu")


def test_the_decoder_counts_among_what_decides_the_frames(manifest: Manifest) -> None:
    decoder = manifest.files["decoder.fp32.onnx"]
    other = replace(manifest, files={**manifest.files, "decoder.fp32.onnx": replace(decoder, sha256="0" * 64)})
    assert other.frames_digest("step.fp32.onnx") != manifest.frames_digest("step.fp32.onnx")


def test_what_is_not_offered_says_so(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder / "model"), "-o", str(tmp_path / "i"), "--precision", "int8"]) == 2
    assert "a latent model; expected fp32 or fp16" in capsys.readouterr().err
    bundle = Path(shutil.copytree(folder / "b", tmp_path / "b"))
    assert export_trt([str(bundle), "--precision", "fp16"]) == 2
    assert "a latent model, of which no engines are made" in capsys.readouterr().err
