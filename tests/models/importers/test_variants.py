"""Variants of other libraries' networks that no step graph can run are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from contract.errors import EdgeError, Refused, UsageError
from contract.schedule import Diffusion
from models.checkpoint import read_checkpoint
from models.importers.given import Given
from tests.models.importers.originals import FLAT, import_denoising_diffusion


def saved(path: Path, diffusion: bool = False, **settings: Any) -> Path:
    library = import_denoising_diffusion()
    network = library.Unet(dim=16, dim_mults=(1, 2), **settings)
    whole = library.GaussianDiffusion(network, image_size=16, min_snr_loss_weight=True) if diffusion else network
    torch.save({"model": whole.state_dict()}, path)
    return path


@pytest.mark.parametrize("settings, message", [
    ({"self_condition": True}, "self-conditioning: each step reads the last one's image"),
    ({"learned_variance": True}, "a learned variance"),
    ({"learned_sinusoidal_cond": True}, "learned or random frequencies"),
])  # fmt: skip
def test_variants_of_denoising_diffusion(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        read_checkpoint(saved(tmp_path / "model-1.pt", **settings), Given(image_size=16))


def test_what_a_bare_unet_of_it_does_not_say_is_its_default(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(saved(tmp_path / "unet.pt"), Given(image_size=16))
    assert checkpoint.diffusion == Diffusion(1000, "sigmoid", "v")
    assert checkpoint.assumed["prediction"] == "v, by default"


def test_the_objective_is_read_from_the_weights_of_the_loss(tmp_path: Path) -> None:
    path = saved(tmp_path / "model-1.pt", diffusion=True)
    checkpoint = read_checkpoint(path, Given(image_size=16))
    assert checkpoint.diffusion.prediction == "v" and "prediction" not in checkpoint.assumed
    with pytest.raises(UsageError, match="--prediction epsilon contradicts the file, which says v"):
        read_checkpoint(path, Given(image_size=16, prediction="epsilon"))


@pytest.mark.parametrize("given, message", [
    (Given(), "add --image-size"),
    (Given(image_size=9), "size 9; expected multiples of 2"),
    (Given(image_size=16, schema="document", arch="document"), "no weights in it"),
])  # fmt: skip
def test_flags_of_denoising_diffusion(tmp_path: Path, given: Given, message: str) -> None:
    with pytest.raises(EdgeError, match=message):
        read_checkpoint(saved(tmp_path / "unet.pt"), given)


@pytest.mark.parametrize("kind, settings, message", [
    ("UNet2DConditionModel", {"down_block_types": ("CrossAttnDownBlock2D",), "cross_attention_dim": 8}, "reads a text"),
    ("UNet2DModel", {"out_channels": 6}, "from 3 to 6 channels"),
    ("UNet2DModel", {"time_embedding_type": "fourier"}, "fourier time embedding"),
    ("UNet2DModel", {"class_embed_type": "identity"}, "class_embed_type"),
])  # fmt: skip
def test_variants_of_diffusers(tmp_path: Path, kind: str, settings: dict[str, Any], message: str) -> None:
    usual = {"sample_size": 16, "in_channels": 3, "out_channels": 3, **FLAT}
    getattr(diffusers, kind)(**usual | settings).save_pretrained(tmp_path / "unet")
    diffusers.DDIMScheduler().save_pretrained(tmp_path / "scheduler")
    with pytest.raises(Refused, match=message):
        read_checkpoint(tmp_path)


def test_a_folder_without_a_scheduler_asks_for_it(tmp_path: Path) -> None:
    diffusers.UNet2DModel(sample_size=16, in_channels=3, out_channels=3, **FLAT).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="add --beta-schedule"):
        read_checkpoint(tmp_path)
    checkpoint = read_checkpoint(tmp_path, Given(beta_schedule="linear", prediction="epsilon"))
    assert checkpoint.diffusion == Diffusion(1000, "linear", "epsilon")
