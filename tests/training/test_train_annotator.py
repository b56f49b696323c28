"""An annotator learns what frames show, knows how sure it is, and travels inside checkpoints."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.annotation import class_fields, number_fields
from contract.schemas import CABIN
from models.annotator import Annotator, AnnotatorConfig, TrainedAnnotator
from models.checkpoint import read_annotator, read_checkpoint, write_checkpoint
from sources.base import LabelledFrames, Landmarks
from sources.cabin.landmarks import LANDMARKS
from tests.tiny_checkpoint import tiny_edge_checkpoint
from tests.training.grey_source import grey_source
from training import train_annotator
from training.annotator_loss import Targets, augment, calibrate, warp
from training.annotator_objective import AnnotatorObjective, AnnotatorRecipe, _halves
from training.batches import as_images
from training.options import report_unseen
from training.run import Run

SUBPIXEL = 0.2
"""Pixels by which the centre of a resampled dot may be off."""

TINY = AnnotatorRecipe(samples=128 * 60, lr=2e-3, warmup=384, widths=(32,), seed=1)


@pytest.fixture(scope="module")
def source() -> LabelledFrames:
    return grey_source(256)


@pytest.fixture(scope="module")
def trained(source: LabelledFrames) -> TrainedAnnotator:
    objective = AnnotatorObjective(TINY, source)
    run = Run(objective, TINY)
    while run.seen < TINY.samples:
        run.step()
    return objective.finished(run, grey_source(256, seed=5))


def test_it_reads_what_the_frames_show(trained: TrainedAnnotator) -> None:
    figures = trained.held_out
    assert figures["class_accuracy"]["lighting"] > 0.9, "drawn as a bright line"
    assert figures["mae"]["skin_tone"] < 0.08, "drawn as the grey level"
    assert figures["class_accuracy"]["gender"] < 0.75, "not drawn at all: nothing leaks from the labels"
    assert figures["mae"]["head_yaw"] > 5.0


def test_classes_that_no_frame_shows_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    source, lighting = grey_source(64), CABIN.field("lighting")
    conditions = source.conditions.copy()
    conditions[:, lighting.slots] = lighting.encode("day")
    day = dataclasses.replace(source, conditions=conditions)
    assert source.unseen() == {} and day.unseen() == {"lighting": ("tunnel", "backlight")}
    report_unseen(day, Path("recordings"))
    assert "recordings: no frame shows lighting tunnel, backlight;" in capsys.readouterr().err


def test_a_field_without_labels_is_neither_learned_nor_scored() -> None:
    source, column = grey_source(128), {name: CABIN.names.index(name) for name in ("gender", "head_yaw", "lighting")}
    hidden = source.hidden.copy()
    hidden[:, [column["gender"], column["head_yaw"]]] = True
    hidden[::2, column["lighting"]] = True
    partial = dataclasses.replace(source, hidden=hidden)
    recipe = dataclasses.replace(TINY, samples=64)
    objective = AnnotatorObjective(recipe, partial)
    run = Run(objective, recipe)
    run.step()
    found = objective.finished(run, partial)
    assert found.held_out["class_accuracy"]["gender"] is None and found.held_out["mae"]["head_yaw"] is None
    assert found.held_out["class_accuracy"]["lighting"] is not None
    network = found.network(CABIN)
    assert network.temperature.isfinite().all() and network.error_scale.isfinite().all()


def test_targets_are_the_labels(source: LabelledFrames) -> None:
    targets = Targets.of(source)
    conditions = CABIN.decode(source.conditions)
    for column, name in enumerate(class_fields(CABIN)):
        values = CABIN.field(name).values
        assert [values[i] for i in targets.classes[:, column]] == [c[name] for c in conditions]
    for name, column in number_fields(CABIN).items():
        field = CABIN.field(name)
        numbers = field.low + (targets.numbers[:, column].numpy() + 1) / 2 * (field.high - field.low)
        assert np.allclose(numbers, [c[name] for c in conditions], atol=1e-4)


def test_a_mirror_changes_sides(source: LabelledFrames) -> None:
    targets = Targets.of(source).rows(slice(0, 64))
    images = as_images(source.frames[:64])
    seed = next(s for s in range(99) if _mirrored(s).any() and not _mirrored(s).all())
    moved, found = augment(images, targets, seed)
    assert moved.shape == images.shape and moved.abs().max() <= 1.0
    flipped, yaw = _mirrored(seed), number_fields(CABIN)["head_yaw"]
    assert torch.equal(found.numbers[flipped, yaw], -targets.numbers[flipped, yaw])
    assert torch.equal(found.numbers[~flipped], targets.numbers[~flipped])
    left, right = LANDMARKS.index("eye_left_outer"), LANDMARKS.index("eye_right_outer")
    shift = (found.points - targets.points)[~flipped][0, 0]
    expected = 1.0 - targets.points[flipped][:, right, 0] + shift[0]
    assert torch.allclose(found.points[flipped][:, left, 0], expected, atol=1e-6)
    assert torch.equal(found.classes, targets.classes)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_landmarks_follow_a_turn(bfloat16: bool) -> None:
    """A dot, and the landmark on it, in frames that aren't square, while training computes in bfloat16 as well."""
    height, width = 48, 80
    places = torch.tensor([[20, 12], [60, 30], [44, 40], [30, 24]])  # x, y
    images = torch.full((len(places), 1, height, width), -1.0)
    for image, (x, y) in zip(images, places.tolist(), strict=True):
        image[0, y - 1 : y + 2, x - 1 : x + 2] = 1.0
    points = ((places + 0.5) / torch.tensor([width, height]))[:, None].float()
    empty = torch.zeros(len(places), 0)
    targets = Targets(CABIN, empty.long(), empty, empty.bool(), points, Landmarks(("dot",)))
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        moved, found = warp(images, targets, 3)
    light = (moved[:, 0] + 1.0).clamp(min=0.0)
    down, across = (torch.arange(n) + 0.5 for n in (height, width))
    moments = torch.stack([(light * across).sum((1, 2)), (light * down[:, None]).sum((1, 2))], 1)
    centre = moments / light.sum((1, 2))[:, None]
    expected = found.points[:, 0] * torch.tensor([width, height])
    assert torch.allclose(centre, expected, atol=SUBPIXEL)
    assert (centre - places).norm(dim=1).mean() > 4 * SUBPIXEL, "the dots moved"


def _mirrored(seed: int) -> torch.Tensor:
    return torch.rand(64, 4, generator=torch.Generator().manual_seed(seed))[:, 0] < 0.5


def test_no_driver_is_on_both_sides_of_the_calibration(source: LabelledFrames) -> None:
    people = np.arange(len(source.frames)) // 5
    even, odd = _halves(dataclasses.replace(source, subjects=people))
    assert not set(people[even]) & set(people[odd]) and len(even) + len(odd) == len(people)
    even, odd = _halves(dataclasses.replace(source, subjects=None))
    assert (even % 2 == 0).all() and (odd % 2 == 1).all()


def test_calibration_corrects_an_overconfident_network(source: LabelledFrames) -> None:
    torch.manual_seed(0)
    network = Annotator(AnnotatorConfig(size=16, widths=(32,), landmarks=LANDMARKS), CABIN).eval()
    with torch.no_grad():
        network.classes.weight *= 50.0  # sure of everything, and wrong
        network.numbers.bias[network.count :] = -5.0  # claims errors of under a hundredth
    images, targets = as_images(source.frames), Targets.of(source)
    calibrate(network, images, targets)
    assert (network.temperature > 2.0).all()
    annotation = network.annotate(source.frames)
    shown = targets.visible[:, CABIN.names.index("head_yaw")].numpy()
    column = number_fields(CABIN)["head_yaw"]
    yaw = np.array([float(c["head_yaw"]) for c in CABIN.decode(source.conditions)])
    real = np.abs(annotation.numbers[:, column] - yaw)[shown].mean()
    assert annotation.errors[shown, column].mean() == pytest.approx(real, rel=1e-3), "by construction of the factor"


@pytest.fixture
def folders(source: LabelledFrames, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder `other` shows the frames of the source as other people's, any other folder the source."""
    others = dataclasses.replace(source, fingerprint="others", subjects=None)
    monkeypatch.setattr(
        train_annotator, "read_source", lambda folder, schema, partial: others if str(folder) == "other" else source
    )


@pytest.mark.usefixtures("folders")
def test_the_command_trains_resumes_and_attaches(
    source: LabelledFrames, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "ckpt.pt", tiny_edge_checkpoint())
    out = tmp_path / "annotator"
    command = ["data", "--held-out", "other", "-o", str(out), "--samples", "64", "--batch", "16", "--widths", "32"]
    assert train_annotator.main([*command, "--into", str(tmp_path / "ckpt.pt")]) == 0
    shown = capsys.readouterr()
    assert "held-out frames" in shown.out and "no frame shows" not in shown.err
    annotator, schema, _ = read_annotator(out / "annotator.pt")
    assert schema == CABIN and annotator.held_out["samples"] == 64
    inside = read_checkpoint(tmp_path / "ckpt.pt").annotator
    assert inside is not None and inside.held_out == annotator.held_out
    first = inside.network(CABIN).annotate(source.frames[:3])
    again = annotator.network(CABIN).annotate(source.frames[:3])
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert train_annotator.main(command) == 0, "a finished run is only measured again"
    assert train_annotator.main([*command[:-1], "64"]) == 1
    assert "other widths" in capsys.readouterr().err.splitlines()[-1]
    assert train_annotator.main([*command, "--held-out", "data"]) == 1
    assert "need other people's" in capsys.readouterr().err


@pytest.mark.usefixtures("folders")
def test_a_run_begins_with_an_annotator_by_itself_or_inside_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = tmp_path / "ckpt.pt"
    write_checkpoint(inside, tiny_edge_checkpoint())
    command = ["data", "--held-out", "other", "--samples", "64", "--batch", "16", "--widths", "32"]
    assert train_annotator.main([*command, "-o", str(tmp_path / "none"), "--init-from", str(inside)]) == 1
    assert "carries no annotator" in capsys.readouterr().err
    assert train_annotator.main([*command, "-o", str(tmp_path / "first"), "--into", str(inside)]) == 0
    alone = tmp_path / "first" / "annotator.pt"
    results = []
    for name, start in (("alone", alone), ("inside", inside)):
        assert train_annotator.main([*command, "-o", str(tmp_path / name), "--init-from", str(start)]) == 0
        annotator, _, _ = read_annotator(tmp_path / name / "annotator.pt")
        assert annotator.held_out["begun"] == hashlib.sha256(start.read_bytes()).hexdigest()
        results.append(annotator.weights)
    anew = read_annotator(alone)[0].weights
    assert all(torch.equal(results[0][key], results[1][key]) for key in anew), "the same start"
    assert any(not torch.equal(results[0][key], anew[key]) for key in anew), "another than anew"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["nowhere", "--held-out", "nowhere"], 1, "neither shards.json nor metadata.jsonl"),
        (["nowhere"], 2, "--held-out"),
        (["nowhere", "--held-out", "nowhere", "--into", "no.pt"], 1, "no.pt"),
        (["nowhere", "--held-out", "nowhere", "--samples", "0"], 2, "--samples"),
    ],
)
def test_a_wrong_argument_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, says: str
) -> None:
    assert train_annotator.main([*arguments, "-o", str(tmp_path / "out")]) == status
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_one_held_out_frame_is_too_few(
    source: LabelledFrames, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = dataclasses.replace(
        source, frames=source.frames[:1], conditions=source.conditions[:1], hidden=source.hidden[:1],
        points=None, subjects=None, fingerprint="one",
    )  # fmt: skip
    monkeypatch.setattr(
        train_annotator, "read_source", lambda folder, schema, partial: few if str(folder) == "other" else source
    )
    assert train_annotator.main(["data", "--held-out", "other", "-o", str(tmp_path / "out")]) == 1
    assert "one half calibrates" in capsys.readouterr().err and not (tmp_path / "out").exists()
