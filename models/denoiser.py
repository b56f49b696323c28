"""What every network offers to the loss, the samplers and the exporter.

The split lets the exporter bake the embeddings of its timesteps and trace only the rest.

    embedding = network.embed_time(timesteps)                        # [B, E], baked into a table at export
    prediction = network.denoise(x, embedding, condition)            # the rest, traced into the graph
"""

from __future__ import annotations

from torch import Tensor, nn

from contract.frames import ImageShape
from contract.limits import MAX_NETWORK_SIDE
from contract.record import Record

MIN_SIDE = 8

Size = int | tuple[int, int]
"""Edge of a square image in pixels, or height and width.

Its range is checked by ImageConfig: msgspec 0.22 crashes on a union of a constrained int and a fixed-length tuple."""


class ImageConfig(Record):
    """Base of the frozen configs: a network that takes images of one shape."""

    channels: int
    size: Size

    @property
    def multiple(self) -> int:
        """What height and width are multiples of."""
        raise NotImplementedError

    @property
    def image(self) -> ImageShape:
        return ImageShape(self.channels, *((self.size, self.size) if isinstance(self.size, int) else self.size))

    def __post_init__(self) -> None:
        if not MIN_SIDE <= min(self.image[1:]) <= max(self.image[1:]) <= MAX_NETWORK_SIDE:
            raise ValueError(f"size {self.size}; expected {MIN_SIDE} to {MAX_NETWORK_SIDE} pixels")
        if self.image.height % self.multiple or self.image.width % self.multiple:
            raise ValueError(f"size {self.size}; expected multiples of {self.multiple}")
        if self.image.height == self.image.width:  # one way to say it, so that equal configs compare equal
            object.__setattr__(self, "size", self.image.height)


class NetworkConfig(ImageConfig):
    """Base of the configs of denoisers."""

    arch: str
    condition_width: int


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
