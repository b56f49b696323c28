"""Networks of the user's own: a factory that the command line names, and conditions from a JSON file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from contract.bundle import read_manifest
from contract.conditions import Schema
from contract.errors import EdgeError, UsageError
from contract.noise import initial_noises
from export.__main__ import main
from export.sampler import choose_sampler
from models.checkpoint import read_checkpoint
from models.diffusion import sample
from models.importers.given import Given
from runtime.backends.ort_cpu import open_cpu

SEATS: dict[str, Any] = {
    "name": "seats",
    "width": 3,
    "fields": [
        {"name": "seat", "offset": 0, "values": ["driver", "passenger"], "codes": [[1, 0], [0, 1]]},
        {"name": "angle", "offset": 2, "low": -45, "high": 45, "unit": "degrees", "mirrored": True},
    ],
}
"""As docs/import.md describes such files."""


class Seats(nn.Module):
    """A batch norm, whose counter no frame depends on, and a timestep that it embeds by itself."""

    def __init__(self, width: int, channels: int = 1) -> None:
        super().__init__()
        self.time, self.condition = nn.Embedding(100, width), nn.Linear(3, width)
        self.first, self.last = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        scale = (self.time(timesteps) + self.condition(condition))[:, :, None, None]
        out: Tensor = self.last(torch.relu(self.norm(self.first(x)) + scale))
        return out


def build(width: int) -> nn.Module:
    return Seats(width)


def build_nothing() -> int:
    return 3


@pytest.fixture
def files(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = torch.nn.DataParallel(Seats(8))
    nn.init.normal_(network.module.last.weight, std=0.2)
    torch.save({"model": network.state_dict(), "config": {"beta_schedule": "linear"}}, tmp_path / "seats.pt")
    (tmp_path / "seats.json").write_text(json.dumps(SEATS))
    return tmp_path


def given(files: Path, **flags: Any) -> Given:
    known = {"network": f"{__name__}:build", "network_args": '{"width": 8}', "schema": str(files / "seats.json")}
    return Given(**known | {"image_size": "16x24", "timesteps": 100, "prediction": "x0"} | flags)


def test_frames_of_an_own_module(files: Path) -> None:
    chosen = given(files)
    command = [str(files / "seats.pt"), "-o", str(files / "b"), "--steps", "4", "--clip-range", "0"]
    for flag, value in chosen.flags().items():
        command += [flag, str(value)]
    assert main(command) == 0
    manifest = read_manifest(files / "b")
    assert manifest.schema == Schema.from_dict(SEATS) and tuple(manifest.image) == (1, 16, 24)
    assert manifest.source["assumed"] == {
        "timesteps": "100, as given",
        "prediction": "x0, as given",
        "network": f'{__name__}:build({{"width": 8}}), as given',
        "channels": "1",
    }
    checkpoint = read_checkpoint(files / "seats.pt", replace(chosen, clip_range=0.0))
    noise = initial_noises(0, range(4), (1, 16, 24))
    conditions = manifest.schema.encode([{"seat": "driver", "angle": float(angle)} for angle in (-45, 0, 30, 45)])
    sampler = choose_sampler(checkpoint, 4)
    expected = sample(checkpoint.network(), sampler, torch.from_numpy(noise), torch.from_numpy(conditions))[1].numpy()
    assert not sampler.clip and expected.std() > 30
    backend = open_cpu(files / "b", manifest, "step.fp32.onnx")
    found = backend.sample(noise.copy(), conditions)
    backend.close()
    assert np.abs(found.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("flags, message", [
    ({"network": "build"}, "expected package.module:factory"),
    ({"network": "no_such_module:build"}, "No module named 'no_such_module'"),
    ({"network": f"{__name__}:missing"}, "missing"),
    ({"network": f"{__name__}:build_nothing", "network_args": None}, "a int; expected a torch.nn.Module"),
    ({"network_args": "{"}, "--network-args: .*expected a JSON object"),
    ({"network_args": "[8]"}, "its arguments a JSON object"),
    ({"network_args": '{"depth": 8}'}, "TypeError: .*depth"),
    ({"schema": None}, "add --schema FILE.json"),
    ({"schema": "missing.json"}, "--schema missing.json: expected one of document, cabin, or a JSON file"),
    ({"image_size": "2048"}, "--image-size 2048: size .*expected 8 to 1024 pixels"),
    ({"image_size": "16by24"}, "--image-size 16by24: expected an edge like 64"),
    ({"prediction": None}, "the file doesn't say its prediction; add --prediction, one of epsilon, v, x0"),
    ({"network_args": '{"width": 4}'}, r"weights don't fit the network 'own module'.*time.weight"),
])  # fmt: skip
def test_what_is_missing_or_wrong_is_said(files: Path, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(EdgeError, match=message) as caught:
        read_checkpoint(files / "seats.pt", given(files, **flags))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change, message", [
    ({"width": 2}, "leave the 2 slots"),
    ({"fields": 3}, "fields"),
    ({"colour": "red"}, "'colour' is an unknown key"),
    ({"fields": [{"name": "seat"}]}, "offset"),
    ({"fields": [{"name": "seat", "offset": 0, "values": ["a"], "codes": []}]}, "one code for each value"),
])  # fmt: skip
def test_an_odd_schema_is_refused(files: Path, change: dict[str, Any], message: str) -> None:
    (files / "seats.json").write_text(json.dumps(SEATS | change))
    with pytest.raises(EdgeError, match=message) as caught:
        read_checkpoint(files / "seats.pt", given(files))
    assert "seats.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_never_names_a_factory(files: Path) -> None:
    content = torch.load(files / "seats.pt", weights_only=True)
    torch.save(
        content | {"config": {"network": f"{__name__}:build", "target": f"{__name__}.build"}}, files / "named.pt"
    )
    with pytest.raises(UsageError, match="isn't recognised"):
        read_checkpoint(files / "named.pt", Given(schema=str(files / "seats.json"), image_size=16))
