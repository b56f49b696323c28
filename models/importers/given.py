"""What a file of other software is made into, and what its user says where the file doesn't.

given = Given(schema="conditions.json", image_size="64x96", beta_schedule="linear")
imported = read_foreign("model.pt", given)
imported.assumed                             # {"prediction": "epsilon, by default"}
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from contract.bundle import Latent, Sampler
from contract.conditions import Schema
from contract.errors import Refused, UsageError
from contract.files import read_json
from contract.schedule import Diffusion
from contract.schemas import SCHEMAS
from models.denoiser import Denoiser, NetworkConfig, Size
from models.importers.weights import COUNTERS


@dataclass(frozen=True)
class Given:
    """The flags of `python -m export` about a checkpoint; None where one wasn't given."""

    arch: str | None = None
    schema: str | None = None
    image_size: int | str | None = None
    weights: str | None = None
    beta_schedule: str | None = None
    timesteps: int | None = None
    prediction: str | None = None
    clip_range: float | None = None
    network: str | None = None
    network_args: str | None = None

    def flags(self) -> dict[str, Any]:
        """What was given, by flag: {"--image-size": 64}."""
        values = {f"--{item.name.replace('_', '-')}": getattr(self, item.name) for item in fields(self)}
        return {flag: value for flag, value in values.items() if value is not None}

    def size(self) -> Size | None:
        """`--image-size`: an edge, or height x width."""
        sides = re.fullmatch(r"(\d{1,12})(?:x(\d{1,12}))?", str(self.image_size))
        if self.image_size is None:
            return None
        if not sides:
            raise UsageError(f"--image-size {self.image_size}: expected an edge like 64, or height x width like 64x96")
        return int(sides[1]) if sides[2] is None else (int(sides[1]), int(sides[2]))

    def condition_schema(self) -> Schema | None:
        """`--schema`: one of the project's own by name, or a JSON file."""
        if self.schema is None or self.schema in SCHEMAS:
            return SCHEMAS[self.schema] if self.schema else None
        if not Path(self.schema).is_file():
            raise UsageError(f"--schema {self.schema}: expected one of {', '.join(SCHEMAS)}, or a JSON file")
        try:
            return Schema.from_dict(read_json(Path(self.schema)))
        except Refused as error:
            raise UsageError(f"--schema {self.schema}: {error}") from error


NOTHING = Given()


@dataclass(frozen=True)
class Decoder:
    """What makes images of the latents that a network works on."""

    latent: Latent
    build: Callable[[], nn.Module]
    """Latents [B, c, h, w] as the steps leave them to images [B, C, H, W] in [-1, 1]."""


@dataclass(frozen=True)
class Imported:
    """A network of other software behind the project's interface."""

    kind: str
    """What it was recognised as."""

    config: NetworkConfig
    schema: Schema
    diffusion: Diffusion
    weights: Mapping[str, Tensor]
    build: Callable[[], Denoiser]
    """The network with fresh weights."""

    few_steps: Callable[[int], Sampler]
    """The original library's deterministic DDIM, by its number of steps."""

    assumed: Mapping[str, str] = field(default_factory=dict)
    """What the file doesn't say: what was given, or taken by default; also which weights were chosen."""

    decoder: Decoder | None = None

    trusted: bool = False
    """Built by code of the user, which sees to its own sizes, and may not work on torch's meta device."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every weight of the network, which isn't allocated for it."""
        with contextlib.nullcontext() if self.trusted else torch.device("meta"):
            network = self.build()
        weights = network.state_dict().items()
        return {name: tuple(weight.shape) for name, weight in weights if not name.endswith(COUNTERS)}
