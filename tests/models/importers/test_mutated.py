"""Damaged and hostile files of other software: refused in one line, or read as they were; nothing in them runs."""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from contract.errors import EdgeError, Refused
from export.sampler import choose_sampler
from models.attention_unet import AttentionUNet, AttentionUNetConfig
from models.checkpoint import read_checkpoint
from models.importers.given import Given
from tests.models.importers.originals import latent_folder, zero_snr_folder
from tests.tiny_checkpoint import tiny_checkpoint

MUTATIONS = 60
"""Of each of the five kinds."""

ABSURD: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, 1e308, float("nan"), float("inf"), "", "x" * 4096, [], [[]], {}, {"a": {"b": []}},
    [10**9] * 4, "../../etc/passwd", -0.5, 10**9,
)  # fmt: skip

Mutate = Callable[[Path, random.Random], None]


def flip_bytes(path: Path, rng: random.Random) -> None:
    """Damage as disks and copies do it."""
    content = bytearray(path.read_bytes())
    kind = rng.choice(["flip", "head", "tail", "truncate", "zero", "insert"])
    if kind == "truncate":
        del content[rng.randrange(len(content)) :]
    elif kind == "zero":
        start = rng.randrange(len(content))
        content[start : start + 64] = bytes(len(content[start : start + 64]))
    elif kind == "insert":
        content.insert(rng.randrange(len(content)), rng.randrange(256))
    else:
        limit = {"flip": len(content), "head": 400, "tail": 400}[kind]
        place = rng.randrange(min(limit, len(content)))
        content[-1 - place if kind == "tail" else place] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


def edit_pickle(path: Path, rng: random.Random) -> None:
    """Another program in the pickle of an archive whose checksums fit."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    program = bytearray(members[name])
    for _ in range(rng.choice([1, 1, 4])):
        program[rng.randrange(len(program))] = rng.randrange(256)
    members[name] = bytes(program)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)


def edit_settings(path: Path, rng: random.Random) -> None:
    """Absurd values and missing keys in the JSON files of a folder."""
    file = rng.choice([path / "unet" / "config.json", path / "scheduler" / "scheduler_config.json"])
    settings = json.loads(file.read_text())
    for _ in range(rng.choice([1, 1, 3])):
        key = rng.choice(list(settings))
        if rng.random() < 0.2:
            del settings[key]
        else:
            settings[key] = rng.choice(ABSURD)
    file.write_text(json.dumps(settings))


def replace_tensors(path: Path, rng: random.Random) -> None:
    """Weights of other shapes, types and layouts."""
    content = torch.load(path, weights_only=True)
    table = content["ema"]
    for name in rng.sample(sorted(name for name in table if "ema_model.model" in name), rng.choice([1, 3, 20])):
        weight: Tensor = table[name]
        table[name] = rng.choice([
            weight[:0], weight.flatten(), weight[None], weight.to(torch.int32), weight * float("nan"),
            weight.to_sparse(), torch.zeros(1).expand(10**9), weight.to(torch.complex64), 3, None, "weight",
        ])  # fmt: skip
    torch.save(content, path)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals")
    weights = dict(tiny_checkpoint(base=1, size=8).weights)
    torch.save({"state_dict": weights, "hyper_parameters": argparse.Namespace(timesteps=100)}, folder / "last.ckpt")
    save_file(weights, folder / "doc.safetensors")
    levels = {"heads": (2, 2), "head_width": (4, 4), "full": (False, True)}
    network = AttentionUNet(AttentionUNetConfig(size=8, dim=8, widths=(8, 8, 16), **levels))
    averaged = {f"ema_model.model.{name}": weight for name, weight in network.state_dict().items()}
    torch.save({"step": 1, "ema": averaged}, folder / "model-1.pt")
    zero_snr_folder(folder / "folder")
    return folder


CASES: dict[str, tuple[str, Mutate, Given]] = {
    "Lightning's bytes": ("last.ckpt", flip_bytes, Given(schema="document", image_size=8)),
    "pickles": ("last.ckpt", edit_pickle, Given(schema="document", image_size=8)),
    "safetensors": ("doc.safetensors", flip_bytes, Given(schema="document", image_size=8)),
    "tensors": ("model-1.pt", replace_tensors, Given(image_size=8)),
    "settings": ("folder", edit_settings, Given()),
}


@pytest.mark.parametrize("case", CASES)
def test_mutated_files_are_refused_or_read(
    originals: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, mutate, given = CASES[case]
    monkeypatch.setattr(os, "system", lambda *a: pytest.fail("code ran"))
    rng, refused = random.Random(case), 0
    for number in range(MUTATIONS):
        copy = tmp_path / str(number) / Path(name).name
        copy.parent.mkdir()
        (shutil.copytree if (originals / name).is_dir() else shutil.copyfile)(originals / name, copy)
        mutate(copy, rng)
        try:
            checkpoint = read_checkpoint(copy, given)
            choose_sampler(checkpoint)
            checkpoint.network()
        except EdgeError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 1200
    assert refused > MUTATIONS / 5, "most mutations do damage"


class Runs:
    """Unpickled without care, it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("beside", [
    lambda bad: {"hyper_parameters": bad},
    lambda bad: {"args": argparse.Namespace(lr=1, extra=bad)},
    lambda bad: {"callbacks": [bad]},
    lambda bad: {"ema": bad},
])  # fmt: skip
def test_code_beside_the_weights_does_not_run(tmp_path: Path, beside: Callable[[Any], dict[str, Any]]) -> None:
    weights = dict(tiny_checkpoint(base=1, size=8).weights)
    torch.save({"state_dict": weights, **beside(Runs(tmp_path / "ran"))}, tmp_path / "evil.ckpt")
    with pytest.raises(Refused, match="could run code"):
        read_checkpoint(tmp_path / "evil.ckpt", Given(schema="document", image_size=8))
    assert not (tmp_path / "ran").exists()
    with zipfile.ZipFile(tmp_path / "evil.ckpt") as archive:
        assert b"mkdir" in archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl")))


def test_names_of_harmless_modules_are_not_called(tmp_path: Path) -> None:
    class Saves:
        def __reduce__(self) -> tuple[Any, ...]:
            return np.save, (str(tmp_path / "ran.npy"), 0)

    weights = dict(tiny_checkpoint(base=1, size=8).weights)
    torch.save({"state_dict": weights, "args": Saves()}, tmp_path / "evil.ckpt")
    try:
        read_checkpoint(tmp_path / "evil.ckpt", Given(schema="document", image_size=8))
    except Refused as refusal:
        assert "could run code" in str(refusal)
    assert not (tmp_path / "ran.npy").exists()


@pytest.mark.parametrize("settings, message", [
    ({"_class_name": "EDMDPMSolverMultistepScheduler"}, "whose noise DDIM doesn't remove"),
    ({"thresholding": True}, "dynamic thresholding"),
    ({"num_train_timesteps": 10**9}, "num_train_timesteps"),
    ({"prediction_type": "flow"}, "prediction"),
    ({"beta_schedule": "made-up"}, "scheduler_config.json|config.json"),
])  # fmt: skip
def test_schedulers_that_no_step_graph_runs(
    originals: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    shutil.copytree(originals / "folder", tmp_path / "folder")
    file = tmp_path / "folder" / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(EdgeError, match=message):
        choose_sampler(read_checkpoint(tmp_path / "folder"))


@pytest.mark.parametrize("name, clips", [("DDPMScheduler", True), ("EulerDiscreteScheduler", False)])
def test_a_scheduler_that_does_not_say_clips_as_its_kind_does(
    originals: Path, tmp_path: Path, name: str, clips: bool
) -> None:
    shutil.copytree(originals / "folder", tmp_path / "folder")
    file = tmp_path / "folder" / "scheduler" / "scheduler_config.json"
    settings = {key: value for key, value in json.loads(file.read_text()).items() if not key.startswith("clip")}
    file.write_text(json.dumps(settings | {"_class_name": name, "lambda_min_clipped": -math.inf}))
    assert choose_sampler(read_checkpoint(tmp_path / "folder")).clip == clips


def test_an_old_autoencoder_has_its_kinds_usual_scale(tmp_path: Path) -> None:
    latent_folder(tmp_path)
    file = tmp_path / "vae" / "config.json"
    settings = json.loads(file.read_text())
    del settings["scaling_factor"]
    file.write_text(json.dumps(settings))
    latent = read_checkpoint(tmp_path).latent
    assert latent is not None and latent.scale == 0.18215
