"""The annotator of a bundle reads what its graph says, and is refused where that breaks the contract."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.annotation import Annotation
from contract.bundle import FileEntry, Manifest, read_manifest, write_manifest
from contract.dataset import read_dataset
from contract.errors import Refused, Unavailable, UsageError
from contract.schemas import CABIN, DOCUMENT
from runtime import Generator
from runtime.annotator import Annotator, choose
from runtime.generate import main
from runtime.verify import main as verify
from tests.fake_bundle import IMAGE, LANDMARKS, STEPS, annotator_graph, expected_annotation, fake_sampler, fit_annotator

FLOAT32 = 1e-4
"""Of values up to 45, computed in fp32 by the graph and in fp64 by numpy; logits go up to some tens."""


def frames_of(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, IMAGE.height, IMAGE.width, IMAGE.channels), np.uint8)


@pytest.mark.parametrize("count", [0, 1, 7, 130])
def test_it_reads_what_the_same_regression_reads_in_numpy(read_bundle: Path, count: int) -> None:
    annotator = Annotator.open(read_bundle, read_manifest(read_bundle), "fp32")
    found = annotator.annotate(frames_of(count))
    expected = expected_annotation(CABIN, frames_of(count), fit_annotator(CABIN, IMAGE, fake_sampler(STEPS)))
    for name, a, b in zip(Annotation._fields, found, expected, strict=True):
        assert a.shape == b.shape and a.dtype == np.float32, name
        np.testing.assert_allclose(a, b, atol=FLOAT32, rtol=FLOAT32, err_msg=name)
    assert annotator.seconds > 0


def test_other_frames_are_a_usage_error(read_bundle: Path) -> None:
    annotator = Annotator.open(read_bundle, read_manifest(read_bundle), "fp32")
    for wrong in (frames_of(2).astype(np.float32), frames_of(2)[0], frames_of(2)[:, :8], frames_of(2)[..., :1]):
        with pytest.raises(UsageError, match=r"expected uint8 \[N, 16, 16, 3\]"):
            annotator.annotate(wrong)


def test_auto_takes_what_the_frames_are_drawn_in(read_bundle: Path, bundle: Path) -> None:
    both = read_manifest(read_bundle)
    both = replace(both, files={**both.files, "annotator.int8.onnx": both.files["annotator.onnx"]})
    assert [choose(both, "auto", drawn) for drawn in ("fp32", "fp16", "int8")] == ["fp32", "fp32", "int8"]
    assert choose(read_manifest(read_bundle), "auto", "int8") == "fp32"
    assert choose(read_manifest(bundle), "auto", "fp32") is None and choose(both, "off", "int8") is None
    assert choose(both, "int8", "fp32") == "int8"
    with pytest.raises(UsageError, match="expected one of auto, fp32, int8, off"):
        choose(both, "fp16", "fp16")


def test_an_annotator_that_is_not_there_names_the_command_that_makes_one(bundle: Path, read_bundle: Path) -> None:
    with Generator.open(bundle, "cpu") as generator:
        for call in (lambda: generator.annotate(frames_of(1)), lambda: generator.stream([{}], reject_below=0.5)):
            with pytest.raises(Unavailable, match=r"the bundle has none.*training\.train_annotator.*python -m export"):
                call()
    with pytest.raises(Unavailable, match=r"no fp32 annotator, none at all.*training\.train_annotator"):
        Generator.open(bundle, "cpu", annotator="fp32")
    with pytest.raises(Unavailable, match=r"no int8 annotator, only annotator\.onnx"):
        Generator.open(read_bundle, "cpu", annotator="int8")
    with Generator.open(read_bundle, "cpu", annotator="off") as generator:
        assert generator.annotator is None and generator.unannotated == "switched off"
        batch = next(generator.stream([{}], batch=2))
        assert batch.annotation is None and batch.reading(0) == {}


def test_a_stream_says_what_its_frames_show(read_bundle: Path) -> None:
    with Generator.open(read_bundle, "cpu") as generator:
        batch = next(generator.stream([{"accessory": "sunglasses"}, {"fatigue_level": "severe"}], batch=40))
        expected = generator.annotate(batch.frames)
    assert batch.annotation is not None and list(batch.attempts) == [0] * 40
    for a, b in zip(batch.annotation, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    agreeing = [reading["agrees"] for reading in batch.readings]
    assert 20 < sum(agreeing) <= 40, "it was fitted to such frames"
    for reading, condition in zip(batch.readings, batch.conditions, strict=True):
        shown = reading["measured"]
        assert list(shown) == list(CABIN.names) and "attempt" not in reading
        hidden = set(CABIN.hidden(condition)) | set(CABIN.hidden({k: v for k, v in shown.items() if v is not None}))
        assert {name for name, value in shown.items() if value is None} == hidden
        if condition["accessory"] == "sunglasses":
            assert shown["eye_openness"] is shown["fatigue_level"] is shown["gaze_yaw"] is None


def test_records_carry_it_and_off_leaves_them_as_they_were(bundle: Path, read_bundle: Path, tmp_path: Path) -> None:
    options = ["-n", "9", "--backend", "cpu", "--batch", "4"]
    assert main([str(read_bundle), "-o", str(tmp_path / "read"), *options]) == 0
    assert main([str(read_bundle), "-o", str(tmp_path / "off"), *options, "--annotator", "off"]) == 0
    assert main([str(bundle), "-o", str(tmp_path / "none"), *options]) == 0
    read, off, none = (read_dataset(tmp_path / name) for name in ("read", "off", "none"))
    assert list(off.records()) == list(none.records())
    unread = dict.fromkeys(("measured", "agrees", "landmarks"))
    assert [entry | unread for entry in read.records()] == list(none.records())
    assert all([point["name"] for point in entry["landmarks"]] == list(LANDMARKS) for entry in read.records())
    assert all(isinstance(r["agrees"], bool) and r["measured"]["sensor"] for r in read.records())
    told = read.description
    assert (told.annotator, told.reject_below, told.rejected) == ("fp32", None, None)
    assert told.disagreeing == sum(not r["agrees"] for r in read.records())
    assert (off.description.annotator, off.description.disagreeing) == (None, None)
    assert off.description.frames == none.description.frames != told.frames
    with pytest.raises(Refused, match="another dataset"):
        _run(read_bundle, tmp_path / "read", *options, "--annotator", "off")


def _run(bundle: Path, output: Path, *options: str) -> None:
    """The command without its error handling."""
    from runtime.generate import parse_args, run

    run(parse_args([str(bundle), "-o", str(output), *options]))


def test_the_report_tells_how_many_agree(read_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(read_bundle), "-o", str(tmp_path / "d"), "-n", "9", "--backend", "cpu"]
    assert main([*command, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    agreeing = sum(r["agrees"] for r in read_dataset(tmp_path / "d").records())
    assert (figures["annotator"], figures["agreeing"], figures["rejected"]) == ("fp32", agreeing, None)
    assert 0 < figures["annotator_seconds"] < figures["seconds"] and figures["reject_below"] is None
    assert main(command) == 0
    assert f"9 frames; {agreeing} of 9 agree with their condition; look at" in capsys.readouterr().out


def replaced(bundle: Path, content: bytes, **about: Any) -> Manifest:
    """The bundle with another annotator, honestly hashed."""
    manifest = read_manifest(bundle)
    (bundle / "annotator.onnx").write_bytes(content)
    extra = {**manifest.files["annotator.onnx"].extra, **about}
    entry = FileEntry(hashlib.sha256(content).hexdigest(), "fp32", extra)
    changed = replace(manifest, files={**manifest.files, "annotator.onnx": entry})
    write_manifest(bundle, changed)
    return changed


def graph(**changes: Any) -> bytes:
    return annotator_graph(CABIN, IMAGE, fit_annotator(CABIN, IMAGE, fake_sampler(STEPS)), **changes)


def other_schema() -> bytes:
    return annotator_graph(DOCUMENT, IMAGE, fit_annotator(DOCUMENT, IMAGE, fake_sampler(STEPS)))


WRONG: dict[str, tuple[Callable[[], bytes], dict[str, Any], str]] = {
    "truncated": (lambda: graph()[:-400], {}, "ONNX Runtime says"),
    "nothing": (lambda: b"", {}, "ONNX Runtime says"),
    "fixed batch": (lambda: graph(batch=2), {}, "inputs .* expected"),
    "fewer landmarks": (graph, {"landmarks": ["one"]}, "outputs .* expected"),
    "other features": (graph, {"features": 7}, "outputs .* expected"),
    "landmarks are a number": (graph, {"landmarks": 2}, "expected landmarks and features"),
    "no features": (graph, {"features": None}, "expected landmarks and features"),
    "not a number": (lambda: graph(spoil=np.nan), {}, "gives NaN or infinity"),
}


@pytest.mark.parametrize(("content", "about", "message"), WRONG.values(), ids=WRONG)
def test_a_graph_that_breaks_the_contract_is_refused(
    own_read_bundle: Path, content: Callable[[], bytes], about: dict[str, Any], message: str
) -> None:
    replaced(own_read_bundle, content(), **about)
    with pytest.raises(Refused, match=message) as refusal, Generator.open(own_read_bundle, "cpu") as generator:
        generator.annotate(frames_of(1))
    assert "python -m export" in str(refusal.value)


def test_an_annotator_of_another_schema_is_refused(own_read_bundle: Path) -> None:
    """Without numbers, and with fewer classes; what ONNX Runtime itself refuses is as good."""
    replaced(own_read_bundle, other_schema())
    with pytest.raises(Refused, match=r"outputs .* expected|ONNX Runtime says"):
        Generator.open(own_read_bundle, "cpu")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_an_altered_annotator_is_one_line(
    own_read_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    path = own_read_bundle / "annotator.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content if damage == "flip" else content[:-1])
    if damage == "remove":
        path.unlink()
    assert main([str(own_read_bundle), "-o", str(tmp_path / "d"), "--backend", "cpu"]) == 1
    error = capsys.readouterr().err
    assert "annotator.onnx" in error and "python -m export" in error and error.count("\n") == 1
    assert not (tmp_path / "d").exists()
    assert (
        main([str(own_read_bundle), "-o", str(tmp_path / "d"), "-n", "1", "--backend", "cpu", "--annotator", "off"])
        == 0
    )
    assert verify([str(own_read_bundle)]) == 1


def test_verify_has_it_read_the_reference_frames(own_read_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify([str(own_read_bundle), "--backend", "cpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["annotated"] == {"annotator.onnx": 4} and report["hashed"] == 3
    replaced(own_read_bundle, graph(spoil=np.inf))
    assert verify([str(own_read_bundle), "--backend", "cpu"]) == 1
    assert "gives NaN or infinity" in capsys.readouterr().err
