"""Files that denoising-diffusion-pytorch's trainer writes: `model` and `ema`, each a whole diffusion with its buffers.

    imported = read_denoising_diffusion(torch.load("model-10.pt"), Given(image_size=64))

The network's shape follows from its weights, the schedule and the objective from the buffers. Its DDIM takes
timesteps that are evenly spaced from -1 on and cut to integers, clips to [-1, 1] and derives the noise anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from contract.bundle import Sampler
from contract.conditions import UNCONDITIONAL
from contract.errors import Refused, UsageError
from contract.schedule import Diffusion
from models.attention_unet import AttentionUNet, AttentionUNetConfig
from models.importers.find_schedule import clipped, find_schedule
from models.importers.given import Given, Imported
from models.importers.weights import find_weights, plain_settings

KNOWN = ("init_conv.weight", "final_conv.weight", "mid_attn.to_qkv.weight")
DEFAULT = Diffusion(1000, "sigmoid", "v")
"""The library's own, for files without buffers."""

SAME_WEIGHT = 1e-3
"""Relative, on the weights of the loss, which are stored in float32."""


def read_denoising_diffusion(content: object, given: Given) -> Imported:
    """The network and its DDIM; Refused for variants that no step graph can run."""
    found, others = find_weights(content, KNOWN, given.weights)
    size = given.size()
    if size is None:
        raise UsageError(f"weights for images of any size ({found.where}); add --image-size, such as --image-size 64")
    shape = _shape(found.weights)
    try:
        config = AttentionUNetConfig(size=size, **shape)
    except ValueError as error:
        raise UsageError(f"its U-Net with --image-size {given.image_size}: {error}") from error
    settings = plain_settings(content) | _objective(found.buffers)
    diffusion, assumed = find_schedule(found.buffers, settings, given, DEFAULT)
    assumed["theta"] = "10000 in the time embedding, by default"
    if len(others) > 1:
        assumed["weights"] = f"{found.where} of {', '.join(other.where for other in others)}"
    build, steps = partial(AttentionUNet, config), partial(_few_steps, diffusion, given)
    kind = "denoising-diffusion-pytorch"
    return Imported(kind, config, UNCONDITIONAL, diffusion, found.weights, build, steps, assumed)


def _few_steps(diffusion: Diffusion, given: Given, steps: int) -> Sampler:
    if not 1 <= steps < diffusion.timesteps:
        raise UsageError(f"--steps {steps}: expected 1 to {diffusion.timesteps - 1}")
    spaced = torch.linspace(-1, diffusion.timesteps - 1, steps + 1).int().tolist()  # in float32, as it is sampled there
    timesteps = spaced[:0:-1]
    alpha_bar = tuple(diffusion.alpha_bar()[timesteps].tolist())
    return clipped(Sampler(tuple(timesteps), alpha_bar, diffusion.prediction), given)


def _objective(buffers: Mapping[str, Tensor]) -> dict[str, str]:
    """The prediction that the weights of the loss belong to: 1, snr or snr / (snr + 1), capped where snr is high."""
    loss_weight, alpha_bar = buffers.get("loss_weight"), buffers.get("alphas_cumprod")
    if loss_weight is None or alpha_bar is None or loss_weight.shape != alpha_bar.shape:
        return {}
    snr = alpha_bar.double() / (1.0 - alpha_bar.double())
    uncapped = snr <= 1.0
    expected = {"epsilon": torch.ones_like(snr), "x0": snr, "v": snr / (snr + 1.0)}
    fits = {
        name: bool((weight - loss_weight.double()).abs()[uncapped].le(SAME_WEIGHT * weight[uncapped]).all())
        for name, weight in expected.items()
    }
    return {"objective": next(name for name in fits if fits[name])} if sum(fits.values()) == 1 else {}


def _shape(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The config without the image's size; Refused where a weight is missing or the variant isn't supported."""
    try:
        stem, out, time = weights["init_conv.weight"], weights["final_conv.weight"], weights.get("time_mlp.1.weight")
        channels, outputs = stem.shape[1], out.shape[0]
        if "time_mlp.0.weights" in weights or time is None:
            raise Refused("learned or random frequencies of the time embedding; expected the library's default")
        if channels == 2 * outputs:
            raise Refused("self-conditioning: each step reads the last one's image, which a step graph doesn't keep")
        if outputs == 2 * channels:
            raise Refused("a learned variance: the network predicts it beside the image; expected the plain diffusion")
        levels = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("downs."))
        last = [weights.get(f"downs.{i}.3.1.weight", weights.get(f"downs.{i}.3.weight")) for i in range(levels)]
        memories = [weights[f"downs.{i}.2.mem_kv"] for i in range(levels)]
        full = tuple(f"downs.{i}.2.to_out.weight" in weights for i in range(levels))
        return {
            "channels": channels,
            "dim": time.shape[1],
            "widths": (stem.shape[0], *(weight.shape[0] for weight in last if weight is not None)),
            "heads": tuple(memory.shape[1] for memory in memories),
            "head_width": tuple(m.shape[3 if whole else 2] for m, whole in zip(memories, full, strict=True)),
            "full": full,
        }
    except (KeyError, IndexError, ValueError) as error:
        if isinstance(error, Refused):
            raise
        raise Refused(f"weights that lack {error}; expected the U-Net of denoising-diffusion-pytorch 2") from error
