"""The camera's sensor: exposure, lens blur, vignetting, shot and read noise, and the response curve.

pixels = expose(radiance, scene, noise)      # uint8 [B, 3, H, W]
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from sources.cartoon.scene import Scene

T = torch.Tensor


def noise_of(seed: int, indices: list[int], size: int) -> T:
    """Standard normal numbers [B, 3, size, size] that depend on the seed and frame index alone."""
    frames = [
        np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, 2, 0])).standard_normal(
            (3, size, size), dtype=np.float32
        )
        for index in indices
    ]
    return torch.from_numpy(np.stack(frames))


def blur(image: T, sigma: T) -> T:
    """Separable Gaussian of `sigma` pixels [B], cut off at two sigma (at least one pixel)."""
    reach = torch.ceil(2.0 * sigma).clamp(min=1.0)[:, None]  # each frame's own: no frame depends on its batch
    radius = int(reach.max())
    taps = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (taps / sigma.clamp(min=1e-3)[:, None]) ** 2) * (taps.abs() <= reach)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    batch, channels, height, width = image.shape
    flat = image.reshape(1, batch * channels, height, width)
    weights = kernel.repeat_interleave(channels, dim=0)
    flat = F.conv2d(
        F.pad(flat, (radius, radius, 0, 0), mode="replicate"), weights[:, None, None, :], groups=batch * channels
    )
    flat = F.conv2d(
        F.pad(flat, (0, 0, radius, radius), mode="replicate"), weights[:, None, :, None], groups=batch * channels
    )
    return flat.reshape(batch, channels, height, width)


def expose(radiance: T, s: Scene, noise: T) -> T:
    """Radiance [B, 3, H, W] to pixels: uint8 [B, 3, H, W].

    Infrared frames are monochrome, noise included. The response is a filmic shoulder over an sRGB-like gamma.
    """
    size = radiance.shape[-1]
    column = {
        name: s[name][:, :, None, None] for name in ("exposure", "vignette", "shot_noise", "read_noise", "infrared")
    }
    light = blur(radiance, s["blur"][:, 0] * size / 64.0) * column["exposure"]
    axis = torch.linspace(-1.0, 1.0, size, device=light.device)
    falloff = axis[:, None] ** 2 + axis[None, :] ** 2
    light = light * (1.0 - column["vignette"] * 0.5 * falloff)
    mono = noise[:, :1].expand_as(noise)
    noise = noise + (mono - noise) * column["infrared"]
    deviation = torch.sqrt(column["read_noise"] ** 2 + column["shot_noise"] ** 2 * light.clamp(min=0.0))
    light = (light + noise * deviation * 0.5).clamp(min=0.0)
    response = (light * (1.0 + light * 0.12) / (1.0 + 0.55 * light)) ** (1.0 / 2.2)
    return (response.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8)
