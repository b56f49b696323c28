"""The command, from a checkpoint to a bundle whose frames are torch's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from contract import parity
from contract.bundle import Sampler, read_manifest
from contract.files import sha256_of
from contract.noise import initial_noises
from contract.schedule import Diffusion
from contract.schemas import CABIN, DOCUMENT
from export import reference
from export.__main__ import main
from export.parity import FULL, HEAVY, QUICK
from export.reference import choose_plan
from models.checkpoint import SamplerDefaults, write_checkpoint
from runtime import Generator
from tests.tiny_checkpoint import document_ddim, tiny_checkpoint, tiny_edge_checkpoint

FRAME = 1
"""Of 255: a pixel between two values may be rounded to either."""

BARE = ["--arch", "document", "--schema", "document", "--image-size", "16"]


def _save(folder: Path, diffusion: Diffusion | None = None, sampler: SamplerDefaults | None = None) -> str:
    write_checkpoint(folder / "tiny.pt", tiny_checkpoint(diffusion=diffusion, sampler=sampler))
    return str(folder / "tiny.pt")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare state dict of the document, exported by the command, with the file it came from beside it."""
    folder = tmp_path_factory.mktemp("document")
    torch.save(dict(tiny_checkpoint().weights), folder / "doc.pt")
    assert main([str(folder / "doc.pt"), *BARE, "--steps", "10", "-o", str(folder / "b")]) == 0
    return folder


@pytest.mark.parametrize("batch", [1, 4, 7])
def test_frames_are_an_independent_ddim_s(document: Path, batch: int) -> None:
    conditions = list(DOCUMENT.grid(DOCUMENT.names))[::35]
    with Generator.open(document / "b", backend="cpu", precision="fp32", batch=batch) as generator:
        frames = generator.generate(conditions, seed=7)
    noise = initial_noises(7, range(len(conditions)), (3, 16, 16))
    weights = dict(tiny_checkpoint().weights)
    expected = document_ddim(weights, noise, DOCUMENT.encode(conditions), range(999, 0, -100))
    assert np.abs(frames.astype(int) - expected.astype(int)).max() <= FRAME
    assert expected.std() > 10, "a picture of one colour would agree with anything"


def test_manifest(document: Path) -> None:
    manifest = read_manifest(document / "b")
    assert manifest.schema == DOCUMENT and tuple(manifest.image) == (3, 16, 16)
    sampler = manifest.sampler
    assert sampler.timesteps == tuple(range(999, 0, -100)) and sampler.prediction == "epsilon"
    assert (sampler.guidance, sampler.clip, sampler.kind) == (1.0, True, "ddim")
    np.testing.assert_array_equal(sampler.alpha_bar, Diffusion().alpha_bar()[list(sampler.timesteps)])
    assert set(manifest.files) == {"step.fp32.onnx", "reference.npz"}
    assert manifest.files["step.fp32.onnx"].precision == "fp32"
    for name, entry in manifest.files.items():
        assert sha256_of(document / "b" / name) == entry.sha256
    assert sorted(os.listdir(document / "b")) == sorted([*manifest.files, "manifest.json"])
    parity = manifest.parity["step.fp32.onnx"]
    assert parity["measured"] <= parity["tolerance"] == 1
    assert parity["conditions"] == 32 and parity["batches"] == [8, 1, 3]
    assumed = {"timesteps": "1000", "beta_schedule": "cosine", "prediction": "epsilon"}
    assert manifest.source == {
        "checkpoint": sha256_of(document / "doc.pt"),
        "lineage": {},
        "assumed": {name: f"{value}, by default" for name, value in assumed.items()},
    }
    assert sorted(os.listdir(document)) == ["b", "doc.pt"]


def test_reference_is_what_the_runtime_draws(document: Path) -> None:
    with np.load(document / "b" / "reference.npz", allow_pickle=False) as reference:
        conditions, seed, frames = reference["conditions"], int(reference["seed"]), reference["frames"]
    assert conditions.shape == (32, 10) and conditions.dtype == np.float32
    assert frames.shape == (32, 16, 16, 3) and frames.dtype == np.uint8
    with Generator.open(document / "b", backend="cpu") as generator:
        completed = generator.complete([{}] * 32, seed)
        assert np.array_equal(generator.schema.encode(completed), conditions)
        drawn = generator.generate([{}] * 32, seed)
    assert np.abs(drawn.astype(int) - frames).max() <= FRAME


def test_a_full_export_replaces_a_bundle_and_reports(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, folder = _save(tmp_path, Diffusion(1000, "cosine-zero", "x0")), tmp_path / "b"
    folder.mkdir()
    (folder / "manifest.json").write_text("damaged")
    assert main([path, "-o", str(folder), "--steps", "1", "--verify", "full", "--json"]) == 0
    captured = capfd.readouterr()
    report = json.loads(captured.out)
    assert report["steps"] == 1 and report["parity"]["step.fp32.onnx"]["conditions"] == 256
    assert captured.err == "", "no chatter, and no progress bar where there is no terminal"
    manifest = read_manifest(folder)
    assert manifest.source["lineage"]["seed"] == 11
    with np.load(folder / "reference.npz") as reference:
        assert len(reference["frames"]) == len(reference["conditions"]) == 32


def test_frames_beyond_the_tolerance_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _save(tmp_path)
    monkeypatch.setitem(
        parity.GATES, "fp32", (("max_abs_difference_of_255", -1),)
    )  # not even equal frames are close enough
    assert main([path, "-o", str(tmp_path / "new" / "b"), "--steps", "1"]) == 1
    error = capsys.readouterr().err
    assert "differs from torch: max_abs_difference_of_255 " in error and error.count("\n") == 1
    assert os.listdir(tmp_path) == ["tiny.pt"]


STUDENT = SamplerDefaults((999, 666, 333), 3, 1.0)


@pytest.mark.parametrize("diffusion, sampler, arguments, status, message", [
    (None, None, ["--steps", "0"], 2, "0 steps; expected 1 to 1000"),
    (None, None, ["--steps", "1001"], 2, "1001 steps; expected 1 to 1000"),
    (None, None, ["--steps", "ten"], 2, "invalid int value"),
    (None, None, ["--guidance", "2"], 2, "no null condition; leave --guidance out"),
    (None, None, ["--guidance", "nan"], 2, "expected a number from 0 to 100"),
    (None, None, ["--precision", "fp64"], 2, "invalid choice"),
    (None, None, ["--verify", "none"], 2, "invalid choice"),
    (None, None, ["--image-size", "64"], 2, "--image-size 64 contradicts the checkpoint, which has 16"),
    (None, None, ["--frames"], 2, "unrecognized arguments"),
    (None, STUDENT, ["--steps", "4"], 2, "trained for 3 steps only"),
    (None, STUDENT, ["--guidance", "2"], 2, "trained for guidance 1"),
    (None, STUDENT, ["--shift", "3"], 2, "has timesteps of its own; leave --shift out"),
    (None, None, ["--shift", "0.5"], 2, "shift 0.5; expected 1 to 100"),
    (Diffusion(1000, "cosine-zero", "epsilon"), None, [], 2, "alpha_bar 0: x0 would be a division by zero"),
])  # fmt: skip
def test_refusals(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    diffusion: Diffusion | None,
    sampler: SamplerDefaults | None,
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    path = _save(tmp_path, diffusion, sampler)
    assert main([path, "-o", str(tmp_path / "b"), *arguments]) == status
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert os.listdir(tmp_path) == ["tiny.pt"]


def test_a_missing_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.pt"), "-o", str(tmp_path / "b")]) == 1
    assert "none.pt: no such file" in capsys.readouterr().err


def test_a_folder_of_something_else_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([_save(tmp_path), "-o", str(tmp_path)]) == 1
    assert "holds 'tiny.pt', which no bundle has" in capsys.readouterr().err


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0 and "python -m export checkpoints/cabin128.pt -o bundle" in capsys.readouterr().out


def test_the_plan_follows_the_network_s_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    network, sampler = tiny_checkpoint().network(), Sampler((999,), (0.0,), "x0")
    assert choose_plan("full", network, sampler) == FULL and FULL.conditions == 256
    assert choose_plan("quick", network, sampler) == QUICK and QUICK.conditions == 32
    assert QUICK.batches() == {8: 32, 1: 8, 3: 8} and FULL.batches((1, 8, 32)) == {8: 256, 1: 32, 32: 32}
    monkeypatch.setattr(reference, "QUICK_SECONDS", 0.0)  # any network is too heavy for that
    assert choose_plan("quick", network, sampler) == HEAVY and HEAVY.conditions == 8


def test_the_edge_network_with_guidance_and_float16_weights(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "edge.pt", tiny_edge_checkpoint())
    assert main([str(tmp_path / "edge.pt"), "-o", str(tmp_path / "b"), "--guidance", "3"]) == 0
    manifest = read_manifest(tmp_path / "b")
    assert manifest.schema == CABIN and manifest.sampler.guidance == 3.0 and manifest.sampler.steps == 4
    assert manifest.parity["step.fp32.onnx"]["measured"] <= FRAME
    with np.load(tmp_path / "b" / "reference.npz") as reference:
        assert reference["frames"].std() > 10, "a picture of one colour would agree with anything"


def test_steps_are_shifted_as_asked_or_as_the_checkpoint_wants(tmp_path: Path) -> None:
    path = _save(tmp_path, Diffusion(1000, "cosine-zero", "v"), SamplerDefaults(None, 4, 1.0, 3.0))
    assert main([path, "-o", str(tmp_path / "own")]) == main([path, "-o", str(tmp_path / "even"), "--shift", "1"]) == 0
    assert read_manifest(tmp_path / "own").sampler.timesteps == (999, 899, 749, 499)
    assert read_manifest(tmp_path / "even").sampler.timesteps == (999, 749, 499, 249)


def test_a_student_is_exported_with_its_own_timesteps(tmp_path: Path) -> None:
    path = _save(tmp_path, Diffusion(1000, "cosine-zero", "v"), STUDENT)
    assert main([path, "-o", str(tmp_path / "b"), "--steps", "3", "--guidance", "1"]) == 0
    manifest = read_manifest(tmp_path / "b")
    assert manifest.sampler.timesteps == (999, 666, 333) and manifest.sampler.alpha_bar[0] == 0.0
