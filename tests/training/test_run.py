"""The training loop learns, goes on where it was stopped, and keeps nothing that isn't finite."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.errors import Refused
from contract.locks import lock_folder
from contract.schedule import trailing
from models.annotator import TrainedAnnotator
from models.checkpoint import read_checkpoint
from sources.base import LabelledFrames
from tests.seat_source import seat_source
from tests.sources.folders import write_shards
from tests.tiny_checkpoint import tiny_edge_checkpoint
from tests.training.grey_source import grey_source
from training.annotator_objective import AnnotatorObjective, AnnotatorRecipe
from training.batches import Batches
from training.denoiser_objective import DenoiserObjective, DenoiserRecipe
from training.distillation import DistillStage, StudentObjective, Teacher
from training.run import LOG, STATE, Recipe, Run, Stopped

ROOT = Path(__file__).parents[2]

TINY = DenoiserRecipe(widths=(32,), samples=640, batch=16, lr=2e-3, warmup=32, seed=3)


@pytest.fixture(scope="module")
def source() -> LabelledFrames:
    return grey_source()


@pytest.fixture(scope="module")
def critic(source: LabelledFrames) -> TrainedAnnotator:
    objective = AnnotatorObjective(AnnotatorRecipe(widths=(32,)), source)
    return objective.finished(Run(objective, objective.recipe), source)


def denoiser_run(source: LabelledFrames, recipe: DenoiserRecipe = TINY) -> Run:
    return Run(DenoiserObjective(recipe, source), recipe)


def critic_run(source: LabelledFrames, critic: TrainedAnnotator) -> Run:
    recipe = DenoiserRecipe(widths=(32,), batch=16, label_weight=0.1, detail_weight=0.1)
    return Run(DenoiserObjective(recipe, source, critic=critic), recipe)


def annotator_run(source: LabelledFrames) -> Run:
    recipe = AnnotatorRecipe(samples=640, batch=16, widths=(32,))
    return Run(AnnotatorObjective(recipe, source), recipe)


def student_run(source: LabelledFrames) -> Run:
    checkpoint, stage = tiny_edge_checkpoint(), DistillStage(samples=640, batch=16, steps=2)
    teacher = Teacher(checkpoint.network(), checkpoint.diffusion, tuple(trailing(1000, 4).tolist()))
    return Run(StudentObjective(teacher, stage, source), stage)


@pytest.mark.parametrize("kind", ["denoiser", "critic", "annotator", "student"])
def test_going_on_gives_what_an_uninterrupted_run_gives(
    source: LabelledFrames, critic: TrainedAnnotator, tmp_path: Path, kind: str
) -> None:
    def begin() -> Run:
        if kind == "critic":
            return critic_run(source, critic)
        return {"denoiser": denoiser_run, "annotator": annotator_run, "student": student_run}[kind](source)

    whole, first, second = begin(), begin(), begin()
    for _ in range(5):
        whole.step()
    for _ in range(3):
        first.step()
    first.save(tmp_path / STATE)
    torch.manual_seed(99)  # whatever else the process draws
    second.resume(tmp_path / STATE)
    for _ in range(2):
        second.step()
    assert second.seen == whole.seen
    for name, weight in whole.averaged.items():
        assert torch.equal(weight, second.averaged[name]), name


def test_the_loss_falls_and_the_learning_rate_ends_at_zero(source: LabelledFrames, tmp_path: Path) -> None:
    run = denoiser_run(source)
    losses = [float(run.step()) for _ in range(40)]
    assert np.mean(losses[-8:]) < 0.5 * np.mean(losses[:4])
    assert run.seen == 640 and run.recipe.learning_rate(run.seen) == 0.0


def test_the_learning_rate_rises_stays_and_falls() -> None:
    recipe = Recipe(samples=2000, batch=10, lr=2.0, warmup=100, cooldown=0.5)
    assert [recipe.learning_rate(seen) for seen in (0, 40, 90, 1000, 1500, 2000)] == [0.2, 1.0, 2.0, 2.0, 1.0, 0.0]
    short = replace(recipe, samples=1000)
    assert [short.learning_rate(seen) for seen in (0, 15, 40, 500)] == [0.4, 1.0, 2.0, 2.0], "a twentieth of it"


def test_every_frame_comes_once_an_epoch(source: LabelledFrames) -> None:
    batches = Batches(source, TINY.batch, TINY.seed)
    assert sorted(row for number in range(3) for row in batches.rows(number)) == list(range(48))
    assert batches.rows(1).tolist() == Batches(source, TINY.batch, TINY.seed).rows(1).tolist(), "whatever came before"
    assert batches.rows(1).tolist() != batches.rows(4).tolist(), "another epoch has another order"


def test_errors_weigh_most_at_the_eyes(source: LabelledFrames) -> None:
    """The eyes lie in row 4, in a column of each frame's own; all other landmarks in row 12, column 8."""
    assert source.points is not None
    points, columns = np.full_like(source.points, 12.5 / 16), np.arange(len(source.frames)) % 16
    points[:, :, 0] = 8.5 / 16
    eyes = [source.landmarks.names.index(name) for name in source.landmarks.eyes]
    points[:, eyes] = np.stack([(columns + 0.5) / 16, np.full(len(columns), 4.5 / 16)], axis=1)[:, None]
    batches = Batches(replace(source, points=points), 16, seed=0, face_weight=2.0, eye_weight=9.0)
    weights = batches.at(0)[2]
    assert weights is not None
    for column, found in zip(columns[batches.rows(0)].tolist(), weights[:, 0], strict=True):
        assert divmod(int(found.argmax()), 16) == (4, column)
        relative = found / found[15, 0]
        assert float(relative[4, column]) == pytest.approx(10.0, rel=1e-3)
        assert float(relative[12, 8]) == pytest.approx(3.0, rel=1e-3)


@pytest.mark.parametrize(("ema", "decays"), [(0.9995, (2 / 11, 3 / 12)), (0.2, (2 / 11, 0.2))])
def test_weights_are_averaged_with_a_decay_that_rises_to_its_own(
    source: LabelledFrames, ema: float, decays: tuple[float, float]
) -> None:
    run = denoiser_run(source, replace(TINY, ema=ema))
    expected = {name: weight.detach().double() for name, weight in run.weights.items()}
    for decay in decays:
        run.step()
        expected = {name: decay * mean + (1 - decay) * run.weights[name] for name, mean in expected.items()}
    for name, mean in expected.items():
        assert torch.allclose(run.averaged[name].double(), mean, rtol=0, atol=1e-7), name
    apart = max(float((run.weights[name] - mean).detach().abs().max()) for name, mean in expected.items())
    assert apart > 1e-4, "the weights themselves lie far from their average"


def test_a_loss_that_isnt_finite_stops_the_run_and_keeps_the_last_good_state(
    source: LabelledFrames, tmp_path: Path
) -> None:
    run = denoiser_run(source)
    run.step()
    run.save(tmp_path / STATE)
    kept = (tmp_path / STATE).read_bytes()
    with torch.no_grad():
        next(iter(run.weights.values())).fill_(torch.nan)
    with pytest.raises(Refused, match="weights that aren't finite"):
        run.save(tmp_path / STATE)
    with pytest.raises(Refused, match="loss nan"):
        run.train(tmp_path, 16)
    assert (tmp_path / STATE).read_bytes() == kept


def test_a_state_of_another_run_is_refused_by_name(source: LabelledFrames, tmp_path: Path) -> None:
    denoiser_run(source).save(tmp_path / STATE)
    other = denoiser_run(source, DenoiserRecipe(widths=(32,), samples=10, batch=16, lr=1e-3, warmup=32, seed=4))
    with pytest.raises(Refused, match=r"with other lr, seed;"):
        other.resume(tmp_path / STATE)
    longer = denoiser_run(source, DenoiserRecipe(widths=(32,), samples=6400, batch=16, lr=2e-3, warmup=32, seed=3))
    longer.resume(tmp_path / STATE)


def test_two_runs_dont_train_in_one_folder(source: LabelledFrames, tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(Refused, match="another run is writing it"):
        denoiser_run(source).train(tmp_path, 16)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_its_state_saved(
    source: LabelledFrames, tmp_path: Path, number: signal.Signals
) -> None:
    run, before = denoiser_run(source), signal.getsignal(number)
    step = run.step

    def interrupted() -> torch.Tensor:
        if run.seen == 32:
            os.kill(os.getpid(), number)
        return step()

    run.step = interrupted  # type: ignore[method-assign]
    with pytest.raises(Stopped, match=f"{number.name} after 48 of 640 images"):
        run.train(tmp_path, 10_000)
    assert signal.getsignal(number) == before
    second = denoiser_run(source)
    second.resume(tmp_path / STATE)
    assert second.seen == 48
    assert json.loads((tmp_path / LOG).read_text().splitlines()[-1])["samples"] == 48


def test_the_command_ends_on_sigterm_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_shards(seat_source(48), tmp_path / "data")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "training.train", str(tmp_path / "data"), "-o", str(run), "--device", "cpu"]
    command += ["--batch", "16", "--widths", "32", "--warmup", "16", "--save-every", "64"]
    training = subprocess.Popen([*command, "--samples", "1000000"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not (run / STATE).is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    training.terminate()
    error = training.communicate(timeout=120)[1]
    assert training.returncode == 1 and "SIGTERM after" in error and "the same command goes on" in error
    done = int(error.split("SIGTERM after ")[1].split(" of ")[0])
    longer = [*command, "--samples", str(done + 32)]
    finished = subprocess.run(longer, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0 and f"going on after {done} of" in finished.stdout, finished.stderr
    assert read_checkpoint(run / "checkpoint.pt").lineage["samples"] == done + 32
