"""The command line of `python -m export.trt`: what it takes, and that what is wrong changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contract.bundle import FileEntry
from contract.engine import BatchProfile
from contract.files import sha256_of
from contract.gpu import gpu_target
from export.engines import spec
from export.trt import main, parse_args

pytestmark = pytest.mark.usefixtures("trt")

RTX = ["--flavor", "tensorrt_rtx"]


def _content(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in folder.iterdir()}


@pytest.mark.parametrize("text, profile", [("8", (8, 8, 8)), ("1,8,32", (1, 8, 32)), ("2,2,2", (2, 2, 2))])
def test_batches(text: str, profile: tuple[int, int, int]) -> None:
    assert parse_args(["b", "--batch", text]).batch == BatchProfile(*profile)


@pytest.mark.parametrize("arguments, message", [
    (["--batch", "0"], "expected N, or MIN,OPT,MAX"),
    (["--batch", "1,8"], "expected N, or MIN,OPT,MAX"),
    (["--batch", "8,1,32"], "expected N, or MIN,OPT,MAX"),
    (["--batch", "1,2,9999"], "expected N, or MIN,OPT,MAX"),
    (["--precision", "fp8"], "invalid choice"),
    (["--flavor", "trt"], "invalid choice"),
    (["--target", "86"], "expected compute capabilities such as sm86"),
    (["--target", "sm87"], "TensorRT for RTX builds for sm80"),
    (["--ampere-plus"], "--ampere-plus is of --flavor tensorrt"),
    (["--ampere-plus", "--target", "sm86"], "exclude each other"),
    (["--level", "6"], "expected an integer from 0 to 5"),
    (["--steps", "3"], "is a bundle, which says that itself"),
    (["--guidance", "2"], "is a bundle, which says that itself"),
])  # fmt: skip
def test_wrong_options_change_nothing(
    calm_bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = _content(calm_bundle)
    assert main([str(calm_bundle), *RTX, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and _content(calm_bundle) == before


def test_a_folder_that_is_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b").mkdir()
    assert main([str(tmp_path / "b"), *RTX]) == 1
    assert "no manifest.json of a bundle" in capsys.readouterr().err and os.listdir(tmp_path / "b") == []


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0 and "python -m export.trt bundle --flavor tensorrt_rtx" in capsys.readouterr().out


@pytest.mark.skipif(gpu_target() is not None, reason="with a GPU the weights are stripped")
def test_weights_cannot_be_stripped_for_rtx_without_a_gpu(
    calm_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _content(calm_bundle)
    assert main([str(calm_bundle), *RTX, "--strip-weights"]) == 1
    assert "strips weights on a machine with a GPU only" in capsys.readouterr().err and _content(calm_bundle) == before


def test_an_engine_that_another_gpu_chose_kernels_for_is_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = ({"device": name, "multiprocessors": 82} for name in ("here", "there"))
    monkeypatch.setattr(spec, "built_on", lambda: {"built_on": here})
    for flavor, noted, again in (
        ("tensorrt", there, True), ("tensorrt", here, False), ("tensorrt", None, False), ("tensorrt_rtx", there, False)
    ):  # fmt: skip
        extra = {"built_on": noted} if noted else {}
        assert spec.chosen_elsewhere(flavor, FileEntry("0" * 64, "fp16", extra)) == again
    monkeypatch.setattr(spec, "built_on", dict)
    assert not spec.chosen_elsewhere("tensorrt", FileEntry("0" * 64, "fp16", {"built_on": there})), "no GPU to build on"
