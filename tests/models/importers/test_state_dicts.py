"""State dicts wherever training scripts put them, with the averaged weights where there are any."""

from __future__ import annotations

import argparse
import random
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from contract.errors import EdgeError, Refused, UsageError
from contract.schedule import Diffusion
from export.sampler import choose_sampler
from models.checkpoint import Checkpoint, read_checkpoint
from models.document import Document, DocumentConfig
from models.importers.given import Given
from tests.tiny_checkpoint import tiny_checkpoint

Weights = dict[str, Tensor]

GIVEN = Given(schema="document", image_size=16)
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "denoise_fn.", "diffusion.")
PLACES = ("state_dict", "model", "model_state_dict", "ema", "ema_model", "ema_state_dict", "model_ema", "network")


@pytest.fixture(scope="module")
def weights() -> Weights:
    return dict(tiny_checkpoint(base=2).weights)


@pytest.fixture(scope="module")
def averaged(weights: Weights) -> Weights:
    return {name: weight + 1.0 for name, weight in weights.items()}


def read(folder: Path, content: object, **flags: Any) -> Checkpoint:
    torch.save(content, folder / "doc.pt")
    return read_checkpoint(folder / "doc.pt", Given(**{"schema": "document", "image_size": 16} | flags))


def assert_weights(checkpoint: Checkpoint, expected: Mapping[str, Tensor]) -> None:
    assert set(checkpoint.weights) == set(expected)
    assert all(torch.equal(weight, expected[name]) for name, weight in checkpoint.weights.items())


def prefixed(weights: Mapping[str, Tensor], prefix: str) -> Weights:
    return {prefix + name: weight for name, weight in weights.items()}


@pytest.mark.parametrize("seed", range(12))
def test_any_nesting_and_prefixes(tmp_path: Path, weights: Weights, seed: int) -> None:
    rng = random.Random(seed)
    content: Any = prefixed(weights, "".join(rng.choices(PREFIXES, k=rng.randrange(4))))
    for _ in range(rng.randrange(3)):
        content = {rng.choice(PLACES): content, "epoch": 3, "loss": 0.5}
    assert_weights(read(tmp_path, content), weights)


@pytest.mark.parametrize("nest", [
    lambda last, mean: {"model": last, "ema": mean},
    lambda last, mean: {"ema_state_dict": mean, "state_dict": last},
    lambda last, mean: {"model": last, "ema": {"shadow": mean, "decay": 0.999, "num_updates": 10}},
    lambda last, mean: {"model": last, "model_ema": prefixed(mean, "module.")},
    lambda last, mean: {"state_dict": prefixed(last, "net.") | prefixed(mean, "net_ema.")},
    lambda last, mean: {"model": last, "ema": prefixed(last, "online_model.") | prefixed(mean, "ema_model.")},
    lambda last, mean: {"callbacks": {"EMA": {"noise": 1}}, "state_dict": last, "averaged_state": mean},
    lambda last, mean: {"model": last, "ema": {"shadow_params": list(mean.values()), "decay": 0.9}},
    lambda last, mean: {
        "state_dict": prefixed(last, "model.") | {"model_ema." + n.replace(".", ""): w for n, w in mean.items()}
    },
])  # fmt: skip
def test_averaged_weights_are_taken_and_said(
    tmp_path: Path, weights: Weights, averaged: Weights, nest: Callable[[Weights, Weights], Any]
) -> None:
    content = nest(weights, averaged)
    checkpoint = read(tmp_path, content)
    assert_weights(checkpoint, averaged)
    assert " of " in checkpoint.assumed["weights"]
    assert_weights(read(tmp_path, content, weights="ema"), averaged)
    assert_weights(read(tmp_path, content, weights="model"), weights)


def test_a_choice_that_is_not_there_is_refused(tmp_path: Path, weights: Weights) -> None:
    with pytest.raises(UsageError, match="--weights ema: the file has only model"):
        read(tmp_path, {"model": weights}, weights="ema")
    with pytest.raises(UsageError, match="--weights model: the file has only ema"):
        read(tmp_path, {"ema": weights}, weights="model")
    assert "weights" not in read(tmp_path, {"model": weights}).assumed


def test_an_averaged_model_of_torch(tmp_path: Path) -> None:
    network = Document(DocumentConfig(size=16, base=2))
    averaged = AveragedModel(nn.DataParallel(network), multi_avg_fn=get_ema_multi_avg_fn(0.5))
    averaged.update_parameters(nn.DataParallel(Document(DocumentConfig(size=16, base=2))))
    checkpoint = read(tmp_path, {"model": network.state_dict(), "average": averaged.state_dict()})
    assert_weights(checkpoint, averaged.module.module.state_dict())


def test_an_optimizer_is_not_a_network(tmp_path: Path, weights: Weights, averaged: Weights) -> None:
    content = {"optimizer_state": averaged, "ema_optimizer": 1, "lr_scheduler": averaged, "model": weights}
    assert_weights(read(tmp_path, content), weights)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_numbers(tmp_path: Path, weights: Weights, dtype: torch.dtype) -> None:
    checkpoint = read(tmp_path, {name: weight.to(dtype) for name, weight in weights.items()})
    assert all(torch.equal(w, weights[name].to(dtype).float()) for name, w in checkpoint.network().state_dict().items())


def test_safetensors(tmp_path: Path, weights: Weights) -> None:
    save_file(prefixed(weights, "model."), tmp_path / "doc.safetensors", metadata={"format": "pt"})
    assert_weights(read_checkpoint(tmp_path / "doc.safetensors", GIVEN), weights)
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "doc.safetensors").read_bytes()[:-9])
    with pytest.raises(Refused, match=r"damaged \.safetensors file"):
        read_checkpoint(tmp_path / "cut.safetensors", GIVEN)


class AttributeDict(dict[str, Any]):
    """As Lightning's, which is a dict by another name."""


def test_harmless_objects_beside_the_weights(tmp_path: Path, weights: Weights) -> None:
    module = types.ModuleType("pytorch_lightning.utilities.parsing")
    kind = type("AttributeDict", (dict,), {"__module__": module.__name__})
    module.AttributeDict = kind  # type: ignore[attr-defined]
    lightning = types.ModuleType("pytorch_lightning"), types.ModuleType("pytorch_lightning.utilities"), module
    hyper_parameters = kind({"beta_schedule": "linear", "timesteps": 500, "objective": "pred_v"})
    content = {
        "state_dict": prefixed(weights, "model."),
        "hyper_parameters": hyper_parameters,
        "args": argparse.Namespace(lr=1e-4, out=Path("runs")),
        "best": np.float64(0.5),
        "shape": torch.Size([3, 16, 16]),
        "dtype": torch.bfloat16,
        "seen": defaultdict(int, {"a": 1}),
        "rng": np.arange(3),
        "order": OrderedDict(a=1),
    }
    with pytest.MonkeyPatch.context() as patch:
        for part in lightning:
            patch.setitem(__import__("sys").modules, part.__name__, part)
        torch.save(content, tmp_path / "last.ckpt")
    checkpoint = read_checkpoint(tmp_path / "last.ckpt", GIVEN)
    assert_weights(checkpoint, weights)
    assert checkpoint.diffusion == Diffusion(500, "linear", "v") and checkpoint.assumed == {}


def test_settings_in_a_namespace(tmp_path: Path, weights: Weights) -> None:
    args = argparse.Namespace(noise_schedule="squaredcos_cap_v2", diffusion_steps=200, prediction_type="sample")
    assert read(tmp_path, {"model": weights, "args": args}).diffusion == Diffusion(200, "cosine", "x0")


def test_the_schedule_is_read_from_buffers(tmp_path: Path, weights: Weights) -> None:
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    table = torch.cumprod(1.0 - betas, dim=0)
    for buffers in ({"betas": betas.float()}, {"alphas_cumprod": table.float()}):
        checkpoint = read(tmp_path, {"state_dict": prefixed(weights, "model.") | buffers})
        assert checkpoint.diffusion.schedule == "table"
        np.testing.assert_allclose(checkpoint.diffusion.alpha_bar(), table.numpy(), atol=1e-6)
        assert set(checkpoint.assumed) == {"prediction"}
        read(tmp_path, {"state_dict": prefixed(weights, "model.") | buffers}, beta_schedule="linear")
        with pytest.raises(UsageError, match="--beta-schedule sigmoid contradicts the file, which holds other betas"):
            read(tmp_path, {"state_dict": prefixed(weights, "model.") | buffers}, beta_schedule="sigmoid")


def test_flags_are_followed_kept_and_must_not_contradict(tmp_path: Path, weights: Weights) -> None:
    flags = {"beta_schedule": "linear", "timesteps": 400, "prediction": "v"}
    checkpoint = read(tmp_path, weights, **flags)
    assert checkpoint.diffusion == Diffusion(400, "linear", "v")
    assert checkpoint.assumed == {name: f"{value}, as given" for name, value in flags.items()}
    with pytest.raises(
        UsageError, match="--timesteps 400 contradicts the file, which says 1000; leave --timesteps out"
    ):
        read(tmp_path, {"model": weights, "config": {"timesteps": 1000}}, timesteps=400)


def test_the_clip_range_reaches_the_sampler(tmp_path: Path, weights: Weights) -> None:
    for given, clip, clip_range in ((None, True, 1.0), (2.5, True, 2.5), (0.0, False, 1.0)):
        sampler = choose_sampler(read(tmp_path, weights, clip_range=given), steps=4)
        assert (sampler.clip, sampler.clip_range) == (clip, clip_range)
    with pytest.raises(UsageError, match="--clip-range -1"):
        choose_sampler(read(tmp_path, weights, clip_range=-1.0))
    with pytest.raises(UsageError, match="as its own software does; leave --shift out"):
        choose_sampler(read(tmp_path, weights), shift=3.0)


def test_flags_for_other_software_do_not_fit_an_own_checkpoint(tmp_path: Path) -> None:
    torch.save(tiny_checkpoint().to_dict(), tmp_path / "own.pt")
    with pytest.raises(UsageError, match="--weights ema: for checkpoints of other software; leave --weights out"):
        read_checkpoint(tmp_path / "own.pt", Given(weights="ema"))
    with pytest.raises(UsageError, match="--prediction v contradicts the checkpoint, which has epsilon"):
        read_checkpoint(tmp_path / "own.pt", Given(prediction="v"))


def test_a_table_that_is_no_schedule_is_refused(tmp_path: Path, weights: Weights) -> None:
    for betas in (torch.full((10,), 2.0), torch.full((10,), float("nan")), torch.full((10,), -1.0)):
        with pytest.raises(EdgeError, match="betas: expected numbers of a noise schedule"):
            read(tmp_path, {"state_dict": prefixed(weights, "model.") | {"betas": betas}})


def test_unknown_networks_are_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save({"model": {"stem.weight": torch.ones(3, 3)}}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match=r"1 tensors of a network that isn't recognised.*--inspect.*--network"):
        read_checkpoint(tmp_path / "other.pt", Given())
