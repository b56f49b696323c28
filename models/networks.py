"""From a network's description in a checkpoint to the network itself, by the name of its architecture.

    network = build({"arch": "document", "channels": 3, "size": 64, "condition_width": 10, "base": 128})

Code never spells out a shape that a checkpoint already knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from contract.errors import Refused
from contract.record import short
from models.denoiser import Denoiser, NetworkConfig
from models.document import Document, DocumentConfig
from models.edge import EdgeConfig, EdgeUNet

ARCHITECTURES: dict[str, tuple[type[NetworkConfig], Callable[[Any], Denoiser]]] = {
    "document": (DocumentConfig, Document),
    "edge": (EdgeConfig, EdgeUNet),
}
"""Config and network of each architecture."""


def configure(data: object) -> NetworkConfig:
    """The checked config of a network from its dict of JSON values; Refused where it isn't one."""
    arch = data.get("arch") if isinstance(data, Mapping) else None
    if not isinstance(arch, str) or arch not in ARCHITECTURES:
        raise Refused(f"network {short(arch)}; expected a dict with 'arch', one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[arch][0].from_dict(data)


def build(config: NetworkConfig | Mapping[str, Any]) -> Denoiser:
    """The network that a config (or its dict) describes, with fresh random weights."""
    config = configure(config) if isinstance(config, Mapping) else config
    return ARCHITECTURES[config.arch][1](config)


def shapes_of(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of the network that a config describes, which isn't allocated for it."""
    with torch.device("meta"):
        network = build(config)
    return {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
