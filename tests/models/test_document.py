"""The document's network: its state-dict keys, its shapes, and the same arithmetic written a second time."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from contract.errors import Refused
from models.document import Document, DocumentConfig
from models.networks import build
from tests.tiny_checkpoint import document_forward

SAME = 1e-10
"""Relative, float64: the same operations, embedding angles apart, which the network computes in float32."""

ANGLES = 1e-4
"""Absolute: at timestep 999 a float32 angle is off by up to 6e-5, and so are its sine and cosine."""

BLOCKS = {
    "down1": (3, 128),
    "down2": (128, 256),
    "down3": (256, 512),
    "mid": (512, 512),
    "up1": (1024, 256),
    "up2": (512, 128),
    "up3": (256, 128),
}


def test_keys_and_shapes_are_the_document_s() -> None:
    expected: dict[str, tuple[int, ...]] = {"unet.out.weight": (3, 128, 1, 1), "unet.out.bias": (3,)}
    for name, (before, after) in BLOCKS.items():
        expected |= {f"unet.{name}.conv.0.weight": (after, before, 3, 3), f"unet.{name}.conv.0.bias": (after,)}
        expected |= {f"unet.{name}.conv.2.weight": (after, after, 3, 3), f"unet.{name}.conv.2.bias": (after,)}
        expected |= {f"unet.{name}.time_proj.weight": (after, 256), f"unet.{name}.time_proj.bias": (after,)}
    for layer, (before, after) in {0: (10, 128), 2: (128, 256)}.items():
        key = f"condition_encoder.encoder.{layer}"
        expected |= {f"{key}.weight": (after, before), f"{key}.bias": (after,)}
    with torch.device("meta"):
        network = Document(DocumentConfig())
    assert {name: tuple(weight.shape) for name, weight in network.state_dict().items()} == expected
    assert network.config.size == 256 and network.null_condition is None


@pytest.mark.parametrize("channels, size, batch", [(3, 16, 1), (1, 24, 3)])
def test_forward_is_the_specification_s(channels: int, size: int, batch: int) -> None:
    torch.manual_seed(0)
    network = Document(DocumentConfig(channels, size, base=4)).double()
    x, condition = torch.randn(batch, channels, size, size).double(), torch.rand(batch, 10).double()
    with torch.no_grad():
        found = network(x, torch.full((batch,), 7), condition)
        expected = document_forward(dict(network.state_dict()), x, 7, condition)
    assert found.shape == x.shape
    assert (found - expected).abs().max() < ANGLES * expected.abs().max()
    with torch.no_grad():
        exact = document_forward(dict(network.state_dict()), x, 0, condition)
        assert (network(x, torch.zeros(batch, dtype=torch.int64), condition) - exact).abs().max() < SAME


def test_time_embedding_by_hand() -> None:
    embedding = Document(DocumentConfig(size=8, base=1)).embed_time(torch.tensor([0, 999]))
    assert embedding.shape == (2, 256) and embedding.dtype == torch.float32
    assert embedding[0].tolist() == [0.0] * 128 + [1.0] * 128
    angles = torch.tensor([999.0, 0.0999], dtype=torch.float64)
    assert torch.allclose(embedding[1, [0, 127]].double(), angles.sin(), atol=ANGLES)
    assert torch.allclose(embedding[1, [128, 255]].double(), angles.cos(), atol=ANGLES)


def test_built_from_its_own_description() -> None:
    config = DocumentConfig(1, 32, 26, 8)
    network = build(config.to_dict())
    assert isinstance(network, Document) and network.config == config


@pytest.mark.parametrize("change", [
    {"size": 60}, {"size": 0}, {"size": 10**9}, {"base": 10**6}, {"base": 2.0}, {"channels": True},
    {"condition_width": -1}, {"depth": 3}, {"arch": "unet"}, {"arch": None},
])  # fmt: skip
def test_odd_descriptions_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="expected"):
        build(DocumentConfig().to_dict() | change)
