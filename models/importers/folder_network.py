"""The U-Nets and decoders of diffusers' folders behind the project's interface.

The time embedding is taken out of the U-Net's forward, so that the exporter can bake it into a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from models.denoiser import Denoiser, NetworkConfig, Size


@dataclass(frozen=True)
class FolderConfig(NetworkConfig):
    """What is known of a folder's U-Net."""

    WHAT = "U-Net"

    channels: int
    size: Size
    condition_width: int

    classes: int = 0
    """Class labels that it was trained with; 0 where it is unconditional."""

    arch: str = "diffusers"

    @property
    def multiple(self) -> int:
        return 1


class FolderUNet(Denoiser):
    """A UNet2DModel or UNet2DConditionModel; the condition's first number is the class label."""

    config: FolderConfig

    def __init__(self, unet: Any, config: FolderConfig) -> None:
        super().__init__()
        self.config, self.null_condition = config, None
        self.frequencies, self.embedding = unet.time_proj, unet.time_embedding
        unet.time_embedding = _Given()
        self.flat = not hasattr(unet, "get_time_embed")
        if self.flat:  # it multiplies what it is given by ones [B], as timesteps: a transposed embedding comes through
            unet.time_proj = _Transposed()
        else:
            unet.get_time_embed = _given
        self.unet = unet

    def embed_time(self, timesteps: Tensor) -> Tensor:
        """int64 [B] timesteps as float [B, E]."""
        weight = next(self.embedding.parameters())
        embedding: Tensor = self.embedding(self.frequencies(timesteps).to(weight.dtype))
        return embedding

    def denoise(self, x: Tensor, time_embedding: Tensor, condition: Tensor) -> Tensor:
        """The prediction [B, C, H, W] for x [B, C, H, W], embedding [B, E] and condition [B, 1]."""
        labels = condition[:, 0].round().long() if self.config.classes else None
        given = time_embedding.T if self.flat else time_embedding
        if self.flat:
            prediction: Tensor = self.unet(x, given, class_labels=labels, return_dict=False)[0]
        else:
            prediction = self.unet(x, given, None, class_labels=labels, return_dict=False)[0]
        return prediction

    @staticmethod
    def own_name(name: str) -> str:
        """The name here of a weight of the original U-Net."""
        own = name.replace("time_embedding.", "embedding.", 1)
        return own if own != name and name.startswith("time_embedding.") else f"unet.{name}"


class FolderDecoder(nn.Module):
    """Latents as the steps leave them to images, by an AutoencoderKL or AutoencoderTiny."""

    def __init__(self, autoencoder: Any, scale: float, shift: float) -> None:
        super().__init__()
        self.autoencoder, self.scale, self.shift = autoencoder, scale, shift

    def forward(self, latents: Tensor) -> Tensor:
        """Latents [B, c, h, w] to images [B, C, H, W] in about [-1, 1]."""
        images: Tensor = self.autoencoder.decode(latents / self.scale + self.shift, return_dict=False)[0]
        return images


class _Given(nn.Module):
    def forward(self, value: Tensor, *unused: object) -> Tensor:
        return value


class _Transposed(nn.Module):
    def forward(self, value: Tensor) -> Tensor:
        return value.T


def _given(sample: Tensor, timestep: Tensor) -> Tensor:
    return timestep
