"""A student's one step is its teacher's stride, and the command writes checkpoints that know their timesteps."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from contract.conditions import Schema
from contract.driver_hashes import stated_once
from contract.schedule import Diffusion, trailing
from models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from models.diffusion import ddim
from sources.base import LabelledFrames
from tests.tiny_checkpoint import tiny_edge_checkpoint
from tests.training.grey_source import grey_source
from training import distill
from training.distillation import DistillStage, StudentObjective, Teacher
from training.run import Run

ROUNDING = 2e-4
"""Of a range of 2: float32 on two ways through a random network, which amplifies what they round differently."""

FAR = 10
"""Times as much, where a batch of other size takes four steps or more."""


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return tiny_edge_checkpoint()


@pytest.fixture(scope="module")
def source() -> LabelledFrames:
    return grey_source()


@pytest.fixture
def teacher(checkpoint: Checkpoint, source: LabelledFrames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The checkpoint as a file; every folder of data that a command names holds the grey frames."""
    monkeypatch.setattr(distill, "read_source", lambda folder, schema: source)
    write_checkpoint(tmp_path / "teacher.pt", checkpoint)
    return tmp_path / "teacher.pt"


@pytest.mark.parametrize("guidance", [1.0, 2.5])
@pytest.mark.parametrize(("steps", "stride"), [(2, 2), (8, 2), (4, 4), (8, 4)])
def test_the_target_lands_where_a_stride_of_the_teacher_lands(
    checkpoint: Checkpoint, steps: int, stride: int, guidance: float
) -> None:
    network, diffusion = checkpoint.network(), checkpoint.diffusion
    timesteps = trailing(diffusion.timesteps, steps)
    teacher = Teacher(network, diffusion, tuple(timesteps.tolist()), guidance, stride)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 3, 16, 16, generator=generator)
    condition = torch.randn(4, checkpoint.schema.width, generator=generator)
    target = teacher.stride_target(noise, condition, torch.zeros(4, dtype=torch.int64))
    if steps == stride:  # nothing follows the teacher's last step: the target is its last image
        image, _ = ddim(network, diffusion, noise, condition, timesteps, guidance)
        assert (target - image.clamp(-1, 1)).abs().max() < ROUNDING
        return
    # ddim always ends at the clean image; the target's own DDIM step ends where the next stride begins.
    following = diffusion.alpha_bar()[timesteps[stride]]
    with torch.no_grad():
        expected = _stride(teacher, noise, condition)
    landed = following**0.5 * target + (1 - following) ** 0.5 * noise  # from alpha_bar 0, where x is the noise
    unclipped = target.abs() < 1.0
    assert unclipped.float().mean() > 0.3
    assert (landed - expected)[unclipped].abs().max() < ROUNDING


def test_frames_of_a_batch_stride_from_their_own_timesteps(checkpoint: Checkpoint) -> None:
    network, diffusion = checkpoint.network(), checkpoint.diffusion
    teacher = Teacher(network, diffusion, tuple(trailing(diffusion.timesteps, 8).tolist()), 2.5, 4)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 16, 16, generator=generator)
    condition = torch.randn(2, checkpoint.schema.width, generator=generator)
    both = teacher.stride_target(x, condition, torch.tensor([0, 1]))
    image, _ = ddim(network, diffusion, x[1:], condition[1:], teacher.timesteps[4:], 2.5)
    first = teacher.stride_target(x[:1], condition[:1], torch.tensor([0]))
    assert (both[1] - image[0].clamp(-1, 1)).abs().max() < FAR * ROUNDING
    assert (both[0] - first[0]).abs().max() < ROUNDING


@pytest.mark.parametrize(("steps", "stride"), [(4, 2), (8, 4)])
def test_a_consistent_target_is_where_the_teacher_ends(checkpoint: Checkpoint, steps: int, stride: int) -> None:
    """From every timestep of the student, those of one batch side by side."""
    network, diffusion = checkpoint.network(), checkpoint.diffusion
    timesteps = trailing(diffusion.timesteps, steps)
    teacher = Teacher(network, diffusion, tuple(timesteps.tolist()), 2.5, stride)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 16, 16, generator=generator)
    condition = torch.randn(2, checkpoint.schema.width, generator=generator)
    found = teacher.trajectory_end(x, condition, torch.tensor([0, 1]))
    for row, first in ((0, 0), (1, stride)):
        expected, _ = ddim(network, diffusion, x[row : row + 1], condition[row : row + 1], timesteps[first:], 2.5)
        assert (found[row] - expected[0].clamp(-1, 1)).abs().max() < FAR * ROUNDING


def _stride(teacher: Teacher, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """The first DDIM steps in float32, from the equation of arXiv 2010.02502."""
    bar = [*(teacher.diffusion.alpha_bar()[t] for t in teacher.timesteps), 1.0]
    for i in range(teacher.stride):
        times = torch.full((len(x),), teacher.timesteps[i])
        x0 = teacher.network(x, times, condition)
        if teacher.guidance != 1.0:
            assert teacher.network.null_condition is not None
            null = teacher.network(x, times, teacher.network.null_condition.expand_as(condition))
            x0 = null + teacher.guidance * (x0 - null)
        x0 = x0.clamp(-1, 1)
        noise = (x - bar[i] ** 0.5 * x0) / (1 - bar[i]) ** 0.5
        x = bar[i + 1] ** 0.5 * x0 + (1 - bar[i + 1]) ** 0.5 * noise
    return x


class Marked(Teacher):
    """A teacher whose targets say where they come from: 1 is a stride, 2 the trajectory's end, at one pixel alone."""

    def stride_target(self, x: torch.Tensor, condition: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        target = torch.zeros_like(x)
        target[:, :, 8, 8] = 1.0
        return target

    def trajectory_end(self, x: torch.Tensor, condition: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return 2.0 * self.stride_target(x, condition, index)


class Black(torch.nn.Module):
    """A student that has learnt nothing."""

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


@pytest.mark.parametrize(("consistent", "squared"), [(False, 1.0), (True, 4.0)])
@pytest.mark.parametrize("weight", [0.0, 4.0])
def test_a_students_error_is_against_the_target_that_was_asked_for(
    checkpoint: Checkpoint, source: LabelledFrames, consistent: bool, squared: float, weight: float
) -> None:
    """Weighted by noise level and by place; the landmarks of `source` lie around the pixel that isn't black."""
    timesteps = (499, 249)  # of which the student has one, so that no draw decides the weight
    teacher = Marked(checkpoint.network(), checkpoint.diffusion, timesteps)
    stage = DistillStage(batch=16, consistent=consistent, face_weight=weight, eye_weight=weight, fold=False)
    objective = StudentObjective(teacher, stage, source)
    objective.network = Black()  # type: ignore[assignment]
    weights = objective.batches.at(0)[2]
    share = 1.0 if weights is None else float(weights[:, :, 8, 8].mean())
    assert (share > 1.5) == (weight > 0.0)
    expected = squared * share / 16**2 / (1.0 - checkpoint.diffusion.alpha_bar()[499])
    assert float(objective.loss(0)) == pytest.approx(expected, rel=1e-5)


def test_a_student_comes_closer_to_its_teacher(checkpoint: Checkpoint, source: LabelledFrames) -> None:
    timesteps = tuple(trailing(1000, 2).tolist())
    teacher = Teacher(checkpoint.network(), checkpoint.diffusion, timesteps, 3.0)
    stage = DistillStage(samples=32 * 60, batch=32, lr=2e-3, warmup=64)
    run = Run(StudentObjective(teacher, stage, source), stage)
    losses = [float(run.step()) for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:3])


def test_the_command_writes_students_that_know_their_timesteps(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(teacher), "data", "-o", str(tmp_path / "students"), "--start", "4"]
    command += ["--samples", "64", "32", "--batch", "16", "--shift", "3"]
    assert distill.main([*command, "--end", "2"]) == 0
    two = read_checkpoint(tmp_path / "students" / "student-2.pt")
    assert (two.sampler.timesteps, two.sampler.steps, two.sampler.guidance) == ((999, 749), 2, 1.0)
    assert distill.main(command) == 0, "the rounds that are done are kept, the next goes on from them"
    assert "student-2.pt: there already" in capsys.readouterr().out
    one = read_checkpoint(tmp_path / "students" / "student-1.pt")
    assert one.sampler.timesteps == (999,)
    assert [(r["steps"], r["samples"], r["guidance"]) for r in one.lineage["distilled"]] == [(2, 64, 2.0), (1, 32, 1.0)]
    assert one.lineage["distilled"][1]["teacher"] == two.sha256
    assert not (tmp_path / "students" / "state.pt").exists()
    assert distill.main([*command, "--lr", "0.01"]) == 1
    assert "with other settings" in capsys.readouterr().err


def test_a_student_of_a_longer_stride_steps_where_others_do(teacher: Path, tmp_path: Path) -> None:
    command = [str(teacher), "data", "-o", str(tmp_path / "students"), "--start", "16", "--end", "4", "--stride", "4"]
    assert distill.main([*command, "--samples", "32", "--batch", "16", "--shift", "3"]) == 0
    assert [path.name for path in (tmp_path / "students").glob("*.pt")] == ["student-4.pt"]
    student = read_checkpoint(tmp_path / "students" / "student-4.pt")
    assert student.sampler.timesteps == (999, 899, 749, 499)
    assert student.lineage["distilled"][0]["settings"]["stride"] == 4


def test_a_run_that_ended_as_it_wrote_a_student_goes_on(teacher: Path, tmp_path: Path) -> None:
    students = tmp_path / "students"
    command = [str(teacher), "data", "-o", str(students), "--start", "4", "--samples", "32"]

    def write_and_keep_state(path: Path, student: Checkpoint) -> str:
        shutil.copy2(students / "state.pt", tmp_path / "left.pt")
        return write_checkpoint(path, student)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill, "write_checkpoint", write_and_keep_state)
        assert distill.main([*command, "--batch", "16", "--end", "2"]) == 0
    shutil.copy2(tmp_path / "left.pt", students / "state.pt")  # as if the run had ended before it removed that
    assert distill.main([*command, "--batch", "16"]) == 0
    assert sorted(path.name for path in students.glob("*.pt")) == ["student-1.pt", "student-2.pt"]


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--start", "12"], 2, "powers of two"),
        (["--end", "32"], 2, "powers of two"),
        (["--stride", "3"], 2, "--stride 3: expected a power of two that leads from 32 steps to 1"),
        (["--stride", "4"], 2, "--stride 4: expected a power of two that leads from 32 steps to 1"),
        (["--guidance", "-1"], 2, "--guidance -1"),
        (["--shift", "0"], 2, "shift 0; expected 1 to 100"),
        (["--samples", "0"], 2, "--samples"),
    ],
)
def test_a_wrong_argument_is_one_line(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int,
    says: str,
) -> None:  # fmt: skip
    write_checkpoint(tmp_path / "t.pt", checkpoint)
    out = tmp_path / "out"
    assert distill.main([str(tmp_path / "t.pt"), "nowhere", "-o", str(out), *arguments]) == status
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not out.exists()


def test_a_teacher_of_noise_or_another_schema_is_refused(
    checkpoint: Checkpoint, source: LabelledFrames, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(distill, "read_source", lambda folder, schema: source)
    write_checkpoint(tmp_path / "v.pt", dataclasses.replace(checkpoint, diffusion=Diffusion(1000, "cosine-zero", "v")))
    assert distill.main([str(tmp_path / "v.pt"), "data", "-o", str(tmp_path / "out")]) == 1
    assert "predicts v" in capsys.readouterr().err
    other = Schema("other", checkpoint.schema.width, checkpoint.schema.fields)
    write_checkpoint(tmp_path / "o.pt", dataclasses.replace(checkpoint, schema=other))
    assert distill.main([str(tmp_path / "o.pt"), "data", "-o", str(tmp_path / "out")]) == 1
    assert "another schema" in capsys.readouterr().err


def test_a_student_goes_on_from_an_earlier_one(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its weights are the earlier one's, moved by one batch; its lineage has both; another one's steps are refused."""
    command = [str(teacher), "data", "--start", "4", "--end", "2", "--batch", "16", "--samples"]
    assert distill.main([*command, "64", "-o", str(tmp_path / "first")]) == 0
    earlier = tmp_path / "first" / "student-2.pt"
    assert distill.main([*command, "16", "-o", str(tmp_path / "next"), "--init-from", str(earlier)]) == 0
    first, then = read_checkpoint(earlier), read_checkpoint(tmp_path / "next" / "student-2.pt")
    moved = max(float((then.weights[name].float() - old.float()).abs().max()) for name, old in first.weights.items())
    assert 0.0 < moved < 2 * DistillStage().lr, "Adam's first step is as long as the learning rate"
    taught = then.lineage["distilled"][-1]
    assert taught["init_from"] == first.sha256
    whole = {**then.lineage, "distilled": [{**taught, "before": first.lineage}]}
    assert then.lineage == stated_once(whole), "all of the earlier lineage, but for hashes that stand there already"
    capsys.readouterr()
    refused = [*command, "16", "-o", str(tmp_path / "no"), "--shift", "3", "--init-from", str(earlier)]
    assert distill.main(refused) == 1
    assert "a student of the timesteps (999, 499); this one steps at (999, 749)" in capsys.readouterr().err
    assert distill.main([*command, "16", "-o", str(tmp_path / "no"), "--init-from", str(teacher)]) == 1
    assert "--init-from: a network" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
