"""The critic sees which labels a prediction fails to show, and leaves alone what nobody can know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.errors import Refused
from models.annotator import TrainedAnnotator
from models.checkpoint import read_checkpoint, write_annotator, write_checkpoint
from sources.base import LabelledFrames
from tests.tiny_checkpoint import tiny_edge_checkpoint
from tests.training.grey_source import grey_source
from training import distill, train
from training.annotator_objective import AnnotatorObjective, AnnotatorRecipe
from training.batches import as_images
from training.denoiser_objective import DenoiserObjective, DenoiserRecipe
from training.image_recipe import ImageRecipe
from training.perceptual_loss import Critic, features
from training.run import Run

ROWS = np.arange(32)


@pytest.fixture(scope="module")
def source() -> LabelledFrames:
    return grey_source()


@pytest.fixture(scope="module")
def trained(source: LabelledFrames) -> TrainedAnnotator:
    recipe = AnnotatorRecipe(samples=3200, batch=32, warmup=160, widths=(32, 32))
    objective = AnnotatorObjective(recipe, source)
    run = Run(objective, recipe)
    while run.seen < recipe.samples:
        run.step()
    return objective.finished(run, source)


def _judged(critic: Critic, source: LabelledFrames, images: torch.Tensor) -> float:
    torch.manual_seed(1)
    return float(critic(images, as_images(source.frames[ROWS]), ROWS, torch.ones(len(ROWS))))


@pytest.mark.parametrize("weights", [ImageRecipe(label_weight=1.0), ImageRecipe(detail_weight=1.0)])
def test_frames_of_other_labels_are_worse_than_the_right_ones(
    source: LabelledFrames, trained: TrainedAnnotator, weights: ImageRecipe
) -> None:
    critic = Critic(trained, source, weights)
    right = as_images(source.frames[ROWS])
    assert _judged(critic, source, right) < 0.8 * _judged(critic, source, right.flip(0))


def test_detail_is_nothing_where_nothing_differs(source: LabelledFrames, trained: TrainedAnnotator) -> None:
    critic = Critic(trained, source, ImageRecipe(detail_weight=1.0))
    assert _judged(critic, source, as_images(source.frames[ROWS])) == 0.0


def test_what_nobody_can_know_teaches_nothing(source: LabelledFrames, trained: TrainedAnnotator) -> None:
    """Certainty 0 for half of the frames: no gradient reaches them, and the others get one."""
    critic = Critic(trained, source, ImageRecipe(label_weight=1.0, detail_weight=1.0))
    images = as_images(source.frames[ROWS]).flip(0).requires_grad_()
    certainty = (torch.arange(len(ROWS)) % 2).float()
    critic(images, as_images(source.frames[ROWS]), ROWS, certainty).backward()
    assert images.grad is not None
    reached = images.grad.abs().amax(dim=(1, 2, 3)) > 0
    assert not reached[0::2].any() and reached[1::2].all()
    assert all(weight.grad is None for weight in critic.network.parameters())


def test_features_are_there_at_every_resolution(source: LabelledFrames, trained: TrainedAnnotator) -> None:
    stages = features(trained.network(source.schema), as_images(source.frames[:2]))
    assert [tuple(stage.shape[1:]) for stage in stages] == [(32, 8, 8), (32, 4, 4)]


def test_another_size_is_refused(source: LabelledFrames, trained: TrainedAnnotator) -> None:
    with pytest.raises(Refused, match=r"\[3, 16, 16\]"):
        Critic(trained, grey_source(size=32), ImageRecipe(label_weight=1.0))


def test_training_with_a_critic_gives_other_weights_and_says_so(
    source: LabelledFrames, trained: TrainedAnnotator
) -> None:
    recipe = DenoiserRecipe(widths=(32,), samples=64, batch=16, warmup=0, cooldown=0.0)
    checkpoints = []
    for chosen, critic in ((recipe, None), (replace(recipe, label_weight=1.0, critic="a" * 64), trained)):
        objective = DenoiserObjective(chosen, source, critic=critic)
        run = Run(objective, chosen)
        for _ in range(4):
            run.step()
        checkpoints.append(objective.checkpoint(run))
    first, second = checkpoints
    assert second.lineage["settings"]["critic"] == "a" * 64
    assert any(not torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_the_commands_take_a_critic(
    source: LabelledFrames, trained: TrainedAnnotator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_annotator(tmp_path / "annotator.pt", trained, source.schema)
    for command in (train, distill):
        monkeypatch.setattr(command, "read_source", lambda folder, schema: source)
    critic = ["--critic", str(tmp_path / "annotator.pt"), "--batch", "16"]
    run = [str(tmp_path / "cache"), "-o", str(tmp_path / "run"), "--samples", "32", "--patch", "2", "--widths", "32"]
    assert train.main([*run, *critic]) == 0
    assert read_checkpoint(tmp_path / "run/checkpoint.pt").lineage["settings"]["label_weight"] == 0.001
    write_checkpoint(tmp_path / "teacher.pt", tiny_edge_checkpoint())
    students = ["-o", str(tmp_path / "students"), "--start", "2", "--samples", "32"]
    assert distill.main([str(tmp_path / "teacher.pt"), str(tmp_path / "cache"), *students, *critic]) == 0
    (taught,) = read_checkpoint(tmp_path / "students/student-1.pt").lineage["distilled"]
    assert taught["settings"]["critic"] and taught["settings"]["detail_weight"] == 0.1


def test_what_is_no_annotator_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "teacher.pt", tiny_edge_checkpoint())
    assert train.main([str(tmp_path / "cache"), "-o", str(tmp_path / "run"), "--critic", str(tmp_path / "teacher.pt")])
    assert "train_annotator" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_weights_of_no_critic_are_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(tmp_path / "teacher.pt", tiny_edge_checkpoint())
    for command in (
        [train.main, str(tmp_path / "cache"), "-o", str(tmp_path / "run"), "--label-weight", "0.5"],
        [distill.main, str(tmp_path / "teacher.pt"), str(tmp_path / "cache"), "--detail-weight", "0.5"],
    ):
        assert command[0](command[1:]) == 2
        assert "--critic" in capsys.readouterr().err


def test_a_critic_of_another_schema_is_refused(
    source: LabelledFrames,
    trained: TrainedAnnotator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_annotator(tmp_path / "annotator.pt", trained, replace(source.schema, name="another"))
    monkeypatch.setattr(train, "read_source", lambda folder, schema: source)
    run = [str(tmp_path / "cache"), "-o", str(tmp_path / "run"), "--critic", str(tmp_path / "annotator.pt")]
    assert train.main(run) == 1
    assert "another schema" in capsys.readouterr().err and not (tmp_path / "run").exists()
