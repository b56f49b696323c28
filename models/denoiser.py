"""What every network offers to the loss, the samplers and the exporter.

The split lets the exporter bake the embeddings of its timesteps and trace only the rest.

    embedding = network.embed_time(timesteps)                        # [B, E], baked into a table at export
    prediction = network.denoise(x, embedding, condition)            # the rest, traced into the graph
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn

from contract.errors import Refused
from contract.frames import ImageShape


class NetworkConfig(Protocol):
    """What every network's frozen config offers, whatever else it holds."""

    @property
    def arch(self) -> str: ...

    @property
    def image(self) -> ImageShape:
        """Shape of the images that the network takes and gives."""

    @property
    def condition_width(self) -> int: ...

    def to_dict(self) -> dict[str, Any]: ...


Size = int | tuple[int, int]
"""Edge of a square image in pixels, or height and width."""


def image_shape(channels: int, size: Size) -> ImageShape:
    return ImageShape(channels, *((size, size) if isinstance(size, int) else size))


def stored_size(size: Size) -> int | list[int]:
    """The size as JSON has it."""
    return size if isinstance(size, int) else list(size)


def read_size(data: object, most: int, multiple: int, what: str) -> Size:
    """A size out of a file: edges from 8 to `most`, multiples of `multiple`; Refused where it is something else."""
    edges = (data,) if isinstance(data, int) else tuple(data) if isinstance(data, (list, tuple)) else ()
    if len(edges) not in (1, 2) or any(type(edge) is not int or not 8 <= edge <= most for edge in edges):
        raise Refused(f"{what}: size {str(data)[:40]}; expected an edge, or height and width, from 8 to {most}")
    if any(edge % multiple for edge in edges):
        raise Refused(f"{what}: size {str(data)[:40]}; expected multiples of {multiple}")
    return edges[0] if len(set(edges)) == 1 else (edges[0], edges[1])


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
