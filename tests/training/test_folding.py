"""A network whose normalisation is folded into FiLM draws about what it drew before."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.checkpoint import read_checkpoint, write_checkpoint
from models.diffusion import ddim
from models.edge import EdgeUNet
from tests.tiny_checkpoint import tiny_edge_checkpoint
from tests.training.grey_source import grey_source
from training import distill
from training.norm_folding import fold

CHECKPOINT = Path(__file__).parents[2] / "checkpoints/cabin128-teacher.pt"

UNEXPLAINED = 0.05
"""Share of the images' variance that a regression may miss on the shipped teacher before any healing; 0.01 is usual."""


def test_the_shipped_teacher_draws_on_without_normalisation() -> None:
    checkpoint = read_checkpoint(CHECKPOINT)
    network = checkpoint.network()
    assert isinstance(network, EdgeUNet) and network.config.normalisation == "group"
    torch.manual_seed(0)
    timesteps = (999, 749, 499, 249)
    condition = torch.from_numpy(grey_source(320).conditions)
    noise = torch.randn(len(condition), 3, 128, 128)
    drawn, _ = ddim(network, checkpoint.diffusion, noise, condition, timesteps)  # images of the kind that it knows
    folded = fold(network, drawn, condition, checkpoint.diffusion, timesteps)
    assert folded.config.normalisation == "none"
    fresh = torch.randn(8, 3, 128, 128)
    own, _ = ddim(network, checkpoint.diffusion, fresh, condition[:8], timesteps)
    other, _ = ddim(folded, checkpoint.diffusion, fresh, condition[:8], timesteps)
    missed = float(((own - other) ** 2).mean() / own.var())
    assert 0.0 < missed < UNEXPLAINED


def test_students_are_without_normalisation_unless_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path / "teacher.pt", tiny_edge_checkpoint())
    monkeypatch.setattr(distill, "read_source", lambda folder, schema: grey_source())
    run = [str(tmp_path / "teacher.pt"), str(tmp_path / "cache"), "--start", "2", "--samples", "16", "--batch", "16"]
    for name, options, expected in (("folded", [], "none"), ("kept", ["--normalised"], "group")):
        assert distill.main([*run, "-o", str(tmp_path / name), *options]) == 0
        student = read_checkpoint(tmp_path / name / "student-1.pt")
        assert student.config.to_dict()["normalisation"] == expected
