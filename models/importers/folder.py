"""Folders as diffusers saves them: a pipeline with `unet`, `scheduler` and perhaps `vae` in it, or a U-Net alone.

    imported = read_folder(Path("cat-64"), Given())

The scheduler's own settings are kept: how few-step DDIM spaces its timesteps, clips, and ends.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from contract.bundle import Latent
from contract.conditions import UNCONDITIONAL, Schema
from contract.errors import Refused, UsageError
from contract.field import Field
from contract.files import read_json
from contract.limits import MAX_CHANNELS
from contract.record import short
from models.denoiser import Size
from models.importers.folder_network import FolderConfig, FolderDecoder, FolderUNet
from models.importers.folder_scheduler import checked, import_diffusers, read_scheduler
from models.importers.given import Decoder, Given, Imported
from models.importers.weights import COUNTERS
from models.safe_load import load_archive, load_tensors

MAX_LAYERS, MAX_CONFIGURED = 32, 1 << 20

UNETS = ("UNet2DModel", "UNet2DConditionModel")
AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
MAX_CLASSES = 2048
"""Labels are one number of the condition, and whole numbers up to there are exact in float16."""


def read_folder(path: Path, given: Given) -> tuple[Imported, str]:
    """The network and a hash of its weights; Refused for folders of other models."""
    inner = path / "unet" if (path / "unet").is_dir() else path
    settings, kind = _config(inner, UNETS)
    unet, config, schema, assumed = _unet(settings, kind, given)
    weights, sha256 = read_weights(inner)
    weights = {FolderUNet.own_name(name): weight for name, weight in weights.items()}
    diffusion, few_steps, about = read_scheduler(path / "scheduler", given)
    decoder = _decoder(path / "vae", config) if (path / "vae").is_dir() else None
    imported = Imported(
        f"diffusers {kind}", config, schema, diffusion, weights, unet, few_steps, assumed | about, decoder
    )
    return imported, sha256


def read_weights(folder: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a saved model and the sha256 of their file; Refused where there is none."""
    for name in ("diffusion_pytorch_model.safetensors", "model.safetensors"):
        if (folder / name).is_file():
            return load_tensors(folder / name)
    for name in ("diffusion_pytorch_model.bin", "pytorch_model.bin"):
        if (folder / name).is_file():
            content, sha256 = load_archive(folder / name)
            if isinstance(content, Mapping) and all(isinstance(value, Tensor) for value in content.values()):
                return {str(key): value for key, value in content.items() if not str(key).endswith(COUNTERS)}, sha256
            raise Refused(f"{folder / name}: expected a dict of tensors by name")
    raise Refused(f"{folder}: no diffusion_pytorch_model.safetensors in it; save the model again, unsharded")


def _config(folder: Path, expected: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    path = folder / "config.json"
    if not path.is_file():
        raise Refused(f"{folder}: no config.json in it, as diffusers writes it, and no manifest.json of a bundle")
    settings = read_json(path)
    kind = settings.get("_class_name")
    if kind not in expected:
        raise Refused(f"{path}: a {str(kind)[:60]}; expected {' or '.join(expected)}")
    return settings, str(kind)


def _unet(
    settings: dict[str, Any], kind: str, given: Given
) -> tuple[partial[FolderUNet], FolderConfig, Schema, dict[str, str]]:
    """How to build the U-Net, its config and schema, and what of them was assumed."""
    channels, outputs = settings.get("in_channels"), settings.get("out_channels")
    if type(channels) is not int or channels != outputs or not 1 <= channels <= MAX_CHANNELS:
        raise Refused(f"U-Net from {channels} to {outputs} channels; expected as many, without a predicted variance")
    if settings.get("time_embedding_type", "positional") != "positional":
        raise Refused(f"U-Net with a {settings['time_embedding_type']} time embedding; expected a positional one")
    if settings.get("class_embed_type") is not None:
        raise Refused(f"U-Net with class_embed_type {settings['class_embed_type']!r}; expected class labels")
    for key, value in settings.items():
        check_size(key, value)
    classes = settings.get("num_class_embeds") or 0
    if type(classes) is not int or not 0 <= classes <= MAX_CLASSES:
        raise Refused(f"num_class_embeds {classes}; expected up to {MAX_CLASSES}")
    schema, assumed = _schema(classes, given)
    size = _size(settings.get("sample_size"), given)
    try:
        config = FolderConfig(channels, size, schema.width, classes)
    except ValueError as error:
        raise UsageError(f"sample_size {size}: {error}") from error
    build = partial(_build, kind, settings, config)
    with torch.device("meta"):
        network = checked(build, "config.json")
    if any(getattr(module, "has_cross_attention", False) for module in network.modules()):
        raise Refused("U-Net with cross-attention, which reads a text; expected class labels or no condition")
    return build, config, schema, assumed


def _build(kind: str, settings: dict[str, Any], config: FolderConfig) -> FolderUNet:
    return FolderUNet(getattr(import_diffusers(), kind).from_config(copy.deepcopy(settings)), config)


def check_size(name: str, value: object) -> None:
    """Refused for numbers and lists that no published U-Net has: building it would take hours."""
    numbers = value if isinstance(value, list) else [value]
    largest = MAX_LAYERS if "layers" in name else MAX_CONFIGURED
    if len(numbers) > MAX_LAYERS or any(isinstance(n, (int, float)) and not abs(n) <= largest for n in numbers):
        raise Refused(f"config.json: {name} {short(value)}; expected up to {MAX_LAYERS} numbers up to {largest}")


def _schema(classes: int, given: Given) -> tuple[Schema, dict[str, str]]:
    schema = given.condition_schema()
    if schema is None:
        if not classes:
            return UNCONDITIONAL, {}
        labels = tuple(str(label) for label in range(classes))
        field = Field("class", 0, labels, tuple((float(label),) for label in range(classes)))
        return Schema("classes", 1, (field,)), {"schema": f"one field 'class' with the labels 0 to {classes - 1}"}
    codes = [code for field in schema.fields for code in field.codes]
    if schema.width != 1 or not classes or not all(code[0] in range(classes) for code in codes):
        raise UsageError(
            f"--schema {given.schema}: expected one field whose codes are class labels, 0 to {classes - 1}"
            if classes
            else f"--schema {given.schema}: the network is unconditional; leave --schema out"
        )
    return schema, {"schema": f"{given.schema}, as given"}


def _size(found: Any, given: Given) -> Size:
    asked = given.size()
    size = tuple(found) if isinstance(found, list) and len(found) == 2 else found
    sides = size if isinstance(size, tuple) else (size,)
    if not all(type(side) is int for side in sides):
        if asked is None:
            raise UsageError("config.json doesn't say the sample_size; add --image-size, such as --image-size 64")
        return asked
    if asked is not None and asked != size:
        raise UsageError(f"--image-size {given.image_size} contradicts the folder, which says {found}")
    return size


def _decoder(folder: Path, config: FolderConfig) -> Decoder:
    """The autoencoder's decoder with its weights; Refused where it isn't one for these latents."""
    settings, kind = _config(folder, AUTOENCODERS)
    if settings.get("latent_channels") != config.channels:
        raise Refused(f"{folder}: latents of {settings.get('latent_channels')} channels, the U-Net's {config.channels}")
    weights, _ = read_weights(folder)
    scale = _factor(settings, "scaling_factor") or _usual_scale(kind)
    latent = Latent(*config.image, scale)
    shift = _factor(settings, "shift_factor")
    return Decoder(latent, partial(_build_decoder, kind, settings, weights, scale, shift))


def _factor(settings: Mapping[str, Any], name: str) -> float:
    """A number of the settings, 0 where it is missing; Refused for anything else."""
    found = settings.get(name) or 0.0
    if type(found) not in (int, float) or not math.isfinite(found):
        raise Refused(f"config.json: {name} {short(found)}; expected a number")
    return float(found)


def _usual_scale(kind: str) -> float:
    """The factor of an autoencoder whose settings were written before they named it."""
    parameters = inspect.signature(getattr(import_diffusers(), kind).__init__).parameters
    return float(parameters["scaling_factor"].default) if "scaling_factor" in parameters else 1.0


def _build_decoder(
    kind: str, settings: dict[str, Any], weights: Mapping[str, Tensor], scale: float, shift: float
) -> nn.Module:
    autoencoder = checked(
        partial(getattr(import_diffusers(), kind).from_config, copy.deepcopy(settings)), "config.json"
    )
    try:
        autoencoder.load_state_dict({name: weight.float() for name, weight in weights.items()})
    except RuntimeError as error:
        raise Refused(f"autoencoder: {' '.join(str(error).split())[:200]}") from error
    return FolderDecoder(autoencoder, scale, shift).eval().requires_grad_(False)
