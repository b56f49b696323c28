"""Training on a GPU: the same batches as on a CPU, and every command from teacher to student, compiled or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from contract.schedule import trailing
from models.annotator import TrainedAnnotator
from models.checkpoint import read_checkpoint
from models.networks import build
from tests.sources.folders import write_images
from tests.training.grey_source import grey_source
from training import distill, train, train_annotator
from training.annotator_objective import AnnotatorObjective, AnnotatorRecipe
from training.batches import Batches
from training.denoiser_objective import DIFFUSION, DenoiserObjective, DenoiserRecipe
from training.distillation import DistillStage, StudentObjective, Teacher
from training.run import Objective, Recipe, Run

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")]


def test_batches_are_those_of_a_cpu() -> None:
    source = grey_source()
    host, device = (Batches(source, 16, seed=3, face_weight=4.0, eye_weight=8.0, device=d) for d in ("cpu", "cuda"))
    assert device._kept, "these frames fit into any GPU"
    for number in (0, 2, 5):
        for there, here in zip(device.at(number), host.at(number), strict=True):
            assert there is not None and here is not None and there.is_cuda
            torch.testing.assert_close(there.cpu(), here)


def test_no_batch_waits_for_the_gpu() -> None:
    """A copy that does leaves the GPU idle while the host prepares what comes next; PyTorch raises an error at one."""
    source = grey_source()
    reading = AnnotatorObjective(AnnotatorRecipe(batch=16, widths=(32,)), source, "cuda")
    critic = TrainedAnnotator.of(reading.network, {})
    recipe = DenoiserRecipe(batch=16, widths=(32,), label_weight=1.0, detail_weight=1.0)
    teacher = Teacher(build(recipe.network(source)), DIFFUSION, tuple(trailing(DIFFUSION.timesteps, 4).tolist()), 2.0)
    stage = DistillStage(batch=16, steps=2, label_weight=1.0, detail_weight=1.0, fold=False)
    objectives: list[tuple[Objective, Recipe]] = [
        (reading, reading.recipe),
        (DenoiserObjective(recipe, source, "cuda", critic), recipe),
        (StudentObjective(teacher, stage, source, "cuda", critic), stage),
    ]
    for objective, chosen in objectives:
        run = Run(objective, chosen)
        for _ in range(3):  # of which the first copies what stays
            run.step()
        try:
            torch.cuda.set_sync_debug_mode("error")
            run.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("flags", [[], ["--compile"]], ids=["eager", "compiled"])
def test_teacher_critic_and_student_are_trained(tmp_path: Path, flags: list[str]) -> None:
    folder, held_out = (str(write_images(grey_source(seed=seed), tmp_path / f"{seed}")) for seed in (0, 1))
    shared = ["--batch", "16", "--device", "cuda", *flags]
    network = ["--widths", "32", "--samples", "64", "--warmup", "16"]
    teacher, critic = tmp_path / "teacher" / "checkpoint.pt", tmp_path / "critic" / "annotator.pt"
    reading = ["--held-out", held_out, "--samples", "64"]
    assert train_annotator.main([folder, "-o", str(critic.parent), *reading, *shared]) == 0
    assert train.main([folder, "-o", str(teacher.parent), "--critic", str(critic), *network, *shared]) == 0
    students = ["-o", str(tmp_path / "students"), "--start", "4", "--end", "2", "--samples", "32"]
    assert distill.main([str(teacher), folder, *students, "--critic", str(critic), *shared]) == 0
    student = read_checkpoint(tmp_path / "students" / "student-2.pt")
    assert student.sampler.steps == 2 and all(bool(weight.isfinite().all()) for weight in student.weights.values())
