"""`--inspect` says what a file holds and what it would be exported as, and writes nothing."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from export.__main__ import main
from models.checkpoint import write_checkpoint
from tests.models.importers.originals import class_folder
from tests.tiny_checkpoint import tiny_checkpoint


def inspect(capsys: pytest.CaptureFixture[str], path: Path, *flags: str) -> dict[str, Any]:
    assert main([str(path), "--inspect", "--json", *flags]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def lightning(tmp_path: Path) -> Path:
    weights = dict(tiny_checkpoint(base=2).weights)
    args = argparse.Namespace(timesteps=100, objective="pred_v", lr=1e-4)
    torch.save({"state_dict": weights, "ema": weights, "hyper_parameters": args, "step": 3}, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_what_is_missing_is_said(lightning: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = inspect(capsys, lightning)
    assert set(found["weights"]) == {"state_dict", "ema"} and found["weights"]["ema"]["tensors"] == 48
    assert found["settings"] == {"timesteps": 100, "objective": "pred_v", "lr": 1e-4}
    assert found["export"] is None and "--schema document --image-size" in found["missing"]
    assert os.listdir(lightning.parent) == ["last.ckpt"]


def test_what_it_would_be_exported_as(lightning: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = inspect(capsys, lightning, "--schema", "document", "--image-size", "16x24")["export"]
    assert found == {
        "kind": "document",
        "network": "document",
        "image": [3, 16, 24],
        "schema": "document",
        "timesteps": 100,
        "schedule": "cosine",
        "prediction": "v",
        "latent": False,
        "assumed": {"beta_schedule": "cosine, by default", "weights": "ema of state_dict, ema"},
    }
    assert main([str(lightning), "--inspect", "--schema", "document", "--image-size", "16"]) == 0
    assert "  prediction: v\n" in capsys.readouterr().out


def test_folders_and_own_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class_folder(tmp_path / "folder")
    assert inspect(capsys, tmp_path / "folder")["export"]["kind"] == "diffusers UNet2DModel"
    write_checkpoint(tmp_path / "own.pt", tiny_checkpoint())
    assert inspect(capsys, tmp_path / "own.pt")["export"]["kind"] == "checkpoint of this project"


def test_a_damaged_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04")
    assert main([str(tmp_path / "cut.pt"), "--inspect"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
