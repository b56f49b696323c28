"""From a network's description in a checkpoint to the network itself, by the name of its architecture.

    network = build({"arch": "document", "channels": 3, "size": 64, "condition_width": 10, "base": 128})

Code never spells out a shape that a checkpoint already knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from contract.errors import Refused
from models.denoiser import Denoiser, NetworkConfig
from models.document import Document, DocumentConfig
from models.edge import EdgeConfig, EdgeUNet

ARCHITECTURES = ("document", "edge")


def configure(data: object) -> NetworkConfig:
    """The checked config of a network from its dict of JSON values; Refused where it isn't one."""
    if not isinstance(data, Mapping) or not isinstance(data.get("arch"), str):
        raise Refused(f"network description: expected a dict with 'arch', one of {', '.join(ARCHITECTURES)}")
    if data["arch"] == "document":
        return DocumentConfig.from_dict(data)
    if data["arch"] == "edge":
        return EdgeConfig.from_dict(data)
    raise Refused(f"network {data['arch'][:60]!r}; expected one of {', '.join(ARCHITECTURES)}")


def build(config: NetworkConfig | Mapping[str, Any]) -> Denoiser:
    """The network that a config (or its dict) describes, with fresh random weights."""
    if isinstance(config, Mapping):
        config = configure(config)
    if isinstance(config, DocumentConfig):
        return Document(config)
    if isinstance(config, EdgeConfig):
        return EdgeUNet(config)
    raise TypeError(f"{type(config).__name__}: no network is built from it")


def shapes_of(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of the network that a config describes, which isn't allocated for it."""
    with torch.device("meta"):
        network = build(config)
    return {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
