"""`export.trt --annotator` builds an engine that reads frames on the GPU, by the real TensorRT for RTX."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.bundle import read_manifest
from contract.engine import BatchProfile, Machine, annotator_engine, engine_files, read_engines
from export.__main__ import main as export
from export.trt import main
from models.checkpoint import write_checkpoint
from tests.tiny_checkpoint import annotated_checkpoint

pytestmark = pytest.mark.usefixtures("trt")

COMMAND = ["--flavor", "tensorrt_rtx", "--precision", "fp32", "--target", "sm86", "--annotator"]
NAME = "annotator.fp32.tensorrt_rtx.sm86.b1-2-4.engine"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with an engine of its annotator; not to be written to."""
    folder = tmp_path_factory.mktemp("annotated")
    write_checkpoint(folder / "a.pt", annotated_checkpoint())
    assert export([str(folder / "a.pt"), "-o", str(folder / "b"), "--steps", "2"]) == 0
    assert main([str(folder / "b"), *COMMAND, "--batch", "1,2,4"]) == 0
    return folder / "b"


def test_an_engine_of_the_annotator_goes_with_the_step_graph_s(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    entry = manifest.files[NAME]
    assert entry.extra["graph"] == "annotator.onnx" and (bundle / NAME).stat().st_size > 10_000
    (step,) = read_engines(manifest, engine_files(manifest, "fp32"))  # the annotator's isn't one of these
    here = Machine("sm86", {"tensorrt_rtx": step.tensorrt})
    found = annotator_engine(manifest, "fp32", step, here)
    assert found is not None and (found.file, found.batch) == (NAME, BatchProfile(1, 2, 4))
    assert annotator_engine(manifest, "int8", step, here) is None
    assert annotator_engine(manifest, "fp32", step, Machine("sm89", here.versions)) is None


def test_it_is_kept_where_nothing_changed(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_manifest(bundle)
    assert main([str(bundle), *COMMAND, "--batch", "1,2,4"]) == 0
    assert capsys.readouterr().out.count("unchanged, kept") == 2
    assert read_manifest(bundle) == before


def test_a_bundle_without_an_annotator_has_none(calm_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_manifest(calm_bundle)
    assert main([str(calm_bundle), *COMMAND]) == 1
    assert "no annotator.onnx" in capsys.readouterr().err
    assert read_manifest(calm_bundle) == before
