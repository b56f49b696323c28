"""`annotator.onnx` reads what torch reads, in int8 nearly so, and a bundle with them works as any other."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from contract.annotation import Annotation
from contract.bundle import Manifest, open_checked, read_manifest
from contract.conditions import Schema
from contract.dataset import read_dataset
from contract.field import Field
from contract.schemas import CABIN, DOCUMENT
from export import annotator as exported
from export.__main__ import main
from export.annotator import (
    annotator_graph,
    folded,
    largest_difference,
    mean_number_difference,
    same_decisions,
)
from export.bundle import from_bundle
from models.checkpoint import write_checkpoint
from runtime.annotator import Annotator
from runtime.generate import main as generate
from runtime.verify import main as verify
from tests.tiny_checkpoint import annotated_checkpoint, tiny_annotator

ROUNDING = 1e-4
"""Of values up to some tens that two programs compute in float32, summed in another order."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("annotated") / "a.pt"
    write_checkpoint(path, annotated_checkpoint())
    return str(path)


@pytest.fixture(scope="module")
def annotated(checkpoint: str) -> Path:
    """A bundle with annotators, made by the command; not to be written to."""
    folder = Path(checkpoint).parent / "b"
    assert main([checkpoint, "-o", str(folder), "--steps", "2"]) == 0
    return folder


def manifest_of(folder: Path) -> Manifest:
    return read_manifest(folder)


def reference_frames(folder: Path) -> np.ndarray:
    with np.load(folder / "reference.npz") as arrays:
        return np.asarray(arrays["frames"])


def test_both_precisions_are_there_and_held_against_torch(annotated: Path) -> None:
    manifest = manifest_of(annotated)
    assert sorted(os.listdir(annotated)) == sorted([*manifest.files, "manifest.json"])
    fp32, int8 = manifest.files["annotator.onnx"], manifest.files["annotator.int8.onnx"]
    assert (fp32.precision, int8.precision) == ("fp32", "int8")
    for entry in (fp32, int8):
        assert entry.extra["landmarks"] == ["left", "right"] and entry.extra["features"] == 64
        assert entry.extra["held_out"]["mae"] == {"gaze_yaw": 9.0}
    assert int8.extra["calibration"] == {"conditions": 32, "seed": 1}
    parity = manifest.parity["annotator.onnx"]
    assert parity["metric"] == "max_difference" and parity["measured"] <= ROUNDING < parity["tolerance"] == 1e-3
    assert parity["conditions"] == 32
    parity = manifest.parity["annotator.int8.onnx"]
    assert parity["metric"] == "same_decisions" and parity["measured"] >= parity["tolerance"] == 0.97
    also = parity["also"]["mean_number_difference"]
    assert 0 < also["measured"] <= also["tolerance"] == 0.03


@pytest.mark.parametrize("batch", [1, 5])
def test_it_reads_what_torch_reads(annotated: Path, batch: int) -> None:
    frames = np.random.default_rng(2).integers(0, 256, (10, 16, 16, 3), np.uint8)
    expected = tiny_annotator(CABIN).network(CABIN).annotate(frames)
    annotator = Annotator.open(annotated, manifest_of(annotated), "fp32")
    found = Annotation.join([annotator.annotate(frames[i : i + batch]) for i in range(0, 10, batch)])
    for name, a, b in zip(Annotation._fields, found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=ROUNDING, err_msg=name)
    assert expected.numbers.std(axis=0).min() > 0 and expected.probabilities.std(axis=0).max() > 0


def test_int8_decides_alike_and_not_by_a_constant(annotated: Path) -> None:
    frames, manifest = reference_frames(annotated), manifest_of(annotated)
    expected = tiny_annotator(CABIN).network(CABIN).annotate(frames)
    found = Annotator.open(annotated, manifest, "int8").annotate(frames)
    assert same_decisions(CABIN, found, expected) == manifest.parity["annotator.int8.onnx"]["measured"]
    varies = [a.probabilities - a.probabilities.mean(axis=0) for a in (found, expected)]
    assert np.corrcoef(varies[0].ravel(), varies[1].ravel())[0, 1] > 0.9, "it follows each frame"
    assert np.abs(found.features - expected.features).max() > ROUNDING, "it is another graph"


def test_the_body_is_int8_and_the_heads_are_float(annotated: Path, tmp_path: Path) -> None:
    fp32 = onnx.load_from_string(open_checked(annotated, manifest_of(annotated), "annotator.onnx"))
    kinds = Counter(node.op_type for node in fp32.graph.node)
    assert kinds["Conv"] == 2 + 4 + 1 and not {"BatchNormalization", "Shape"} & set(kinds)
    assert [value.name for value in fp32.graph.output] == list(Annotation._fields)
    sides = fp32.graph.input[0].type.tensor_type.shape.dim
    assert sides[0].dim_param and [side.dim_value for side in sides[1:]] == [16, 16, 3]
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "optimized.onnx"), 4
    onnxruntime.InferenceSession(
        open_checked(annotated, manifest_of(annotated), "annotator.int8.onnx"),
        options,
        providers=["CPUExecutionProvider"],
    )
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
    assert kinds["QLinearConv"] == 6 and kinds["Conv"] + kinds["FusedConv"] == 1
    assert kinds["QGemm"] == 0 < kinds["Gemm"] + kinds["FusedGemm"]


def test_folding_changes_nothing(annotated: Path) -> None:
    network = tiny_annotator(CABIN).network(CABIN)
    plain = folded(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in plain.modules())
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules()), "a copy"
    for a, b in zip(
        plain.annotate(reference_frames(annotated)), network.annotate(reference_frames(annotated)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=ROUNDING)


def test_the_same_weights_give_the_same_bytes(annotated: Path) -> None:
    content = annotator_graph(tiny_annotator(CABIN).network(CABIN))
    assert content == (annotated / "annotator.onnx").read_bytes()


def test_a_schema_without_numbers_and_no_landmarks_will_do() -> None:
    network = tiny_annotator(DOCUMENT, ()).network(DOCUMENT)
    frames = np.random.default_rng(2).integers(0, 256, (3, 16, 16, 3), np.uint8)
    expected = network.annotate(frames)
    assert expected.numbers.shape == (3, 0) and expected.landmarks.shape == (3, 0, 2)
    session = onnxruntime.InferenceSession(annotator_graph(network), providers=["CPUExecutionProvider"])
    for a, b in zip(session.run(list(Annotation._fields), {"frames": frames}), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=ROUNDING)


def test_the_runtime_verifies_generates_and_rejects_with_it(
    annotated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify([str(annotated), "--state", str(tmp_path), "--backend", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["annotated"] == {"annotator.onnx": 32, "annotator.int8.onnx": 32}
    for precision in ("fp32", "int8"):
        command = [str(annotated), "-o", str(tmp_path / precision), "-n", "6", "--backend", "cpu"]
        assert generate([*command, "--annotator", precision, "--reject-below", "0.2"]) == 0
        told = read_dataset(tmp_path / precision).description
        assert (told.annotator, told.reject_below) == (precision, 0.2) and told.rejected is not None
        assert all(1 <= entry["tries"] <= 16 for entry in read_dataset(tmp_path / precision).records())


def test_a_bundle_that_is_extended_keeps_them(annotated: Path, tmp_path: Path) -> None:
    draft = from_bundle(tmp_path, annotated, "quick")
    draft.write()
    assert manifest_of(tmp_path) == manifest_of(annotated)
    assert Annotator.open(tmp_path, manifest_of(tmp_path), "int8").precision == "int8"


def test_an_annotator_that_differs_from_torch_leaves_nothing(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exported, "MAX_DIFFERENCE", -1.0)  # not even equal values are close enough
    assert main([checkpoint, "-o", str(tmp_path / "b"), "--steps", "1"]) == 1
    error = capsys.readouterr().err
    assert "annotator.onnx differs from torch: max_difference" in error and error.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_an_annotator_that_int8_ruins_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One channel of the first convolution is huge where the frame can't tell, so that all others round to zero."""
    checkpoint = annotated_checkpoint()
    assert checkpoint.annotator is not None
    weights = dict(checkpoint.annotator.weights)
    bias = weights["body.1.bias"].clone()
    bias[0] = 3e4
    following = weights["body.3.weight"].clone()
    following[:, 0] = 0.0
    weights |= {"body.1.bias": bias, "body.3.weight": following}
    object.__setattr__(checkpoint.annotator, "weights", weights)
    write_checkpoint(tmp_path / "a.pt", checkpoint)
    assert main([str(tmp_path / "a.pt"), "-o", str(tmp_path / "b"), "--steps", "1", "--precision", "fp16"]) == 0
    error = capsys.readouterr().err
    assert "annotator.int8.onnx is left out, fp32 does its work: same_decisions 0." in error and error.count("\n") == 1
    names = ["annotator.onnx", "manifest.json", "reference.npz", "step.fp16.onnx"]
    assert sorted(os.listdir(tmp_path / "b")) == names
    assert set(manifest_of(tmp_path / "b").parity) == {"annotator.onnx", "step.fp16.onnx"}


SMALL = Schema(
    "small",
    4,
    (
        Field("side", 0, ("left", "right"), ((0.0,), (1.0,))),
        Field("size", 1, low=0.0, high=10.0),
        Field("form", 2, ("round", "flat"), ((0.0,), (1.0,))),
    ),
)


def small(probabilities: list[list[float]], numbers: list[float], error: float = 1.0) -> Annotation:
    rows = len(numbers)
    column = np.array(numbers, np.float32)[:, None]
    fixed = np.full((rows, 1), error, np.float32), np.zeros((rows, 1, 2), np.float32), np.zeros((rows, 3), np.float32)
    return Annotation(np.array(probabilities, np.float32), column, *fixed)


def test_the_metrics_have_the_values_worked_out_by_hand() -> None:
    one = small([[0.9, 0.1, 0.2, 0.8], [0.4, 0.6, 0.5, 0.5]], [1.0, 5.0])
    other = small([[0.8, 0.2, 0.6, 0.4], [0.3, 0.7, 0.4, 0.6]], [2.0, 5.0], 4.0)
    assert same_decisions(SMALL, one, other) == 0.5  # form of both frames flips: 0.5, 0.5 is the first class
    assert mean_number_difference(SMALL, one, other) == pytest.approx(0.05)
    assert largest_difference(SMALL, one, other) == pytest.approx(0.4)  # 0.2 against 0.6; the number is off by 0.1
    assert largest_difference(SMALL, one, small([[0.9, 0.1, 0.2, 0.8], [0.4, 0.6, 0.5, 0.5]], [1.0, 5.0], 6.0)) == (
        pytest.approx(0.5)
    )
    assert largest_difference(SMALL, one, one) == mean_number_difference(SMALL, one, one) == 0.0
