"""A user's own network: a factory that is named on the command line, and the weights of a file for it.

    imported = read_own_module(content, Given(network="my_models.unet:build", network_args='{"width": 64}', ...))

The factory is imported and called because the user says so; a file never names one. It returns a `Denoiser`, or any
module whose `forward(x [B, C, H, W], timesteps int64 [B], condition [B, D])` returns a prediction like x.
"""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from contract.errors import UsageError
from contract.files import parse_json
from models.denoiser import Denoiser, NetworkConfig, Size
from models.importers.find_schedule import find_schedule, own_steps
from models.importers.given import Given, Imported
from models.importers.weights import COUNTERS, find_weights, plain_settings

CHANNELS = (3, 1, 4)
"""Tried in this order where neither the module nor its config has `channels` or `in_channels`."""


@dataclass(frozen=True)
class OwnConfig(NetworkConfig):
    """What is known of a user's network."""

    WHAT = "own network"

    channels: int
    size: Size
    condition_width: int
    arch: str = "own"

    @property
    def multiple(self) -> int:
        return 1


class OwnNetwork(Denoiser):
    """A module with forward(x, timesteps, condition) behind the project's interface."""

    def __init__(self, module: nn.Module, config: OwnConfig) -> None:
        super().__init__()
        self.config, self.module, self.null_condition = config, module, None

    def embed_time(self, timesteps: Tensor) -> Tensor:
        """The timesteps as float [B, 1]; what the module makes of them is in the graph."""
        return timesteps[:, None].float()

    def denoise(self, x: Tensor, time_embedding: Tensor, condition: Tensor) -> Tensor:
        prediction: Tensor = self.module(x, time_embedding[:, 0].round().long(), condition)
        return prediction


def read_own_module(content: object, given: Given) -> Imported:
    """The user's network with the weights of the file; UsageError says what of the flags is missing or wrong."""
    schema, size, factory = given.condition_schema(), given.size(), _factory(given)
    if schema is None or size is None:
        raise UsageError("--network: add --schema FILE.json, the conditions that it reads, and --image-size N")
    try:
        OwnConfig(1, size, schema.width)
    except ValueError as error:
        raise UsageError(f"--image-size {given.image_size}: {error}") from error
    module = factory()
    names = [name for name in module.state_dict() if not name.endswith(COUNTERS)]
    found, others = find_weights(content, names, given.weights)
    channels = _channels(module, size, schema.width)
    config = OwnConfig(channels, size, schema.width)
    diffusion, assumed = find_schedule(found.buffers, plain_settings(content), given)
    assumed |= {"network": f"{given.network}({given.network_args or ''}), as given", "channels": str(channels)}
    if len(others) > 1:
        assumed["weights"] = f"{found.where} of {', '.join(other.where for other in others)}"
    wrapped = not isinstance(module, Denoiser)
    weights = {f"module.{name}" if wrapped else name: weight for name, weight in found.weights.items()}
    build, steps = partial(_build, factory, config), partial(own_steps, diffusion, given)
    return Imported("own module", config, schema, diffusion, weights, build, steps, assumed, trusted=True)


def _build(factory: partial[nn.Module], config: OwnConfig) -> Denoiser:
    module = factory()
    return module if isinstance(module, Denoiser) else OwnNetwork(module, config)


def _factory(given: Given) -> partial[nn.Module]:
    """The factory with its arguments; UsageError where it can't be imported or makes no module."""
    where, _, name = str(given.network).partition(":")
    try:
        arguments = parse_json((given.network_args or "{}").encode())
    except ValueError as error:
        raise UsageError(f"--network-args: {error}; expected a JSON object") from error
    if not name or not isinstance(arguments, dict):
        raise UsageError(f"--network {given.network}: expected package.module:factory, its arguments a JSON object")
    sys.path.insert(0, os.getcwd())
    try:
        factory = partial(getattr(importlib.import_module(where), name), **arguments)
        module: Any = factory()
    except Exception as error:  # the user's own code, in the user's own words
        raise UsageError(f"--network {given.network}: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    if not isinstance(module, nn.Module):
        raise UsageError(f"--network {given.network}: a {type(module).__name__}; expected a torch.nn.Module")
    return factory


def _channels(module: nn.Module, size: Size, condition_width: int) -> int:
    """Channels of the images: as the module or its config says, else the first number with which it runs."""
    for holder in (module, getattr(module, "config", None)):
        for name in ("channels", "in_channels"):
            if type(found := getattr(holder, name, None)) is int:
                return found
    failure: Exception | None = None
    for channels in CHANNELS:
        config = OwnConfig(channels, size, condition_width)
        x, condition = torch.zeros(2, *config.image), torch.zeros(2, condition_width)
        try:
            with torch.no_grad():
                if module.eval()(x, torch.zeros(2, dtype=torch.int64), condition).shape == x.shape:
                    return channels
        except Exception as error:  # whatever the user's own code says of a wrong shape
            failure = error
    tried = ", ".join(map(str, CHANNELS))
    raise UsageError(f"--network: forward(x, timesteps, condition) with {tried} channels gives no image ({failure})")
