"""What every network offers to the loss, the samplers and the exporter.

The split lets the exporter bake the embeddings of its timesteps and trace only the rest.

    embedding = network.embed_time(timesteps)                        # [B, E], baked into a table at export
    prediction = network.denoise(x, embedding, condition)            # the rest, traced into the graph
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn


class NetworkConfig(Protocol):
    """What every network's frozen config offers, whatever else it holds."""

    @property
    def arch(self) -> str: ...

    @property
    def channels(self) -> int: ...

    @property
    def size(self) -> int:
        """Height and width of the image in pixels."""

    @property
    def condition_width(self) -> int: ...

    def to_dict(self) -> dict[str, Any]: ...


class Denoiser(nn.Module):
    """A network that predicts noise, v or the clean image from a noisy image, a timestep and a condition."""

    config: NetworkConfig

    null_condition: nn.Parameter | None
    """What guidance steers away from, float [D]; None where the network wasn't trained for guidance."""

    def embed_time(self, timesteps: Tensor) -> Tensor:
        """int64 [B] timesteps as float [B, E]."""
        raise NotImplementedError

    def denoise(self, x: Tensor, time_embedding: Tensor, condition: Tensor) -> Tensor:
        """The prediction [B, C, H, W] for x [B, C, H, W], embedding [B, E] and condition [B, D]."""
        raise NotImplementedError

    def forward(self, x: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        """As `denoise`, from int64 [B] timesteps."""
        return self.denoise(x, self.embed_time(timesteps), condition)
