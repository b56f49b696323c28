"""Small models of other libraries with random weights, and the frames that those libraries draw with them.

    python -m tests.models.importers.originals

prints the table of docs/import.md: how far the frames of exported bundles are from each library's own deterministic
DDIM, from the same noise.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from contract.bundle import read_manifest
from export.__main__ import main as export
from export.sampler import choose_sampler
from models.checkpoint import read_checkpoint
from models.diffusion import sample
from models.importers.given import Given
from runtime.backends.ort_cpu import open_cpu

FRAMES = 8
STEPS = 10

DEEP = {"block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8}
FLAT = {
    "block_out_channels": (16,),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
}
"""One resolution, which is exported in seconds."""

ATTENTION_BLOCKS = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}


@dataclass(frozen=True)
class Original:
    """A saved model, how it is exported, and what its own library draws."""

    path: Path
    noise: npt.NDArray[np.float32]
    """[N, C, H, W]."""

    frames: npt.NDArray[np.uint8]
    """[N, H, W, C], rounded to the nearest."""

    flags: list[str] = field(default_factory=list)
    classes: list[str] | None = None
    """Label of each frame, where the model has any."""

    def imported(self, given: Given) -> npt.NDArray[np.uint8]:
        """What the importer's network draws in torch from the same noise."""
        checkpoint = read_checkpoint(self.path, given)
        condition = torch.from_numpy(checkpoint.schema.encode(self.conditions))
        sampler = choose_sampler(checkpoint, STEPS)
        return sample(checkpoint.network(), sampler, torch.from_numpy(self.noise), condition)[1].numpy()

    def exported(self, bundle: Path) -> npt.NDArray[np.uint8]:
        """What the bundle draws from the same noise."""
        command = [str(self.path), "-o", str(bundle), "--steps", str(STEPS), *self.flags]
        if export(command) != 0:
            raise RuntimeError(f"python -m export {' '.join(command)} failed")
        manifest = read_manifest(bundle)
        backend = open_cpu(bundle, manifest, "step.fp32.onnx")
        try:
            return backend.sample(self.noise.copy(), manifest.schema.encode(self.conditions))
        finally:
            backend.close()

    @property
    def conditions(self) -> list[dict[str, Any]]:
        return [{"class": name} for name in self.classes] if self.classes else [{} for _ in self.noise]


def unet(seed: int = 0, **settings: Any) -> diffusers.UNet2DModel:
    """A UNet2DModel of 32 x 32 pixels in three channels, unless the settings say otherwise."""
    torch.manual_seed(seed)
    usual = {"sample_size": 32, "in_channels": 3, "out_channels": 3, **DEEP, **ATTENTION_BLOCKS}
    labels = {"class_labels": torch.tensor([0, 1])} if "num_class_embeds" in settings else {}
    return loud(diffusers.UNet2DModel(**usual | settings), settings.get("in_channels", 3), **labels)


def loud(network: nn.Module, channels: int, *context: object, **labels: Tensor) -> nn.Module:
    """With random weights a network predicts almost nothing: its last layer is scaled to a prediction like noise."""
    last = [module for module in network.modules() if isinstance(module, nn.Conv2d)][-1]
    network.eval().requires_grad_(False)
    found = network(torch.randn(2, channels, 16, 16), torch.tensor([9, 9]), *context, **labels)
    prediction = getattr(found, "sample", found)
    mean, std = prediction.mean(dim=(0, 2, 3)), prediction.std(dim=(0, 2, 3))
    assert last.bias is not None
    last.weight.data /= std[:, None, None, None]
    last.bias.data = (last.bias - mean) / std
    return network


def pipeline_folder(folder: Path) -> Original:
    """An unconditional pipeline, drawn by DDIMPipeline: linear betas, epsilon, leading timesteps, clipped."""
    pipeline = diffusers.DDIMPipeline(unet(), diffusers.DDIMScheduler())
    pipeline.save_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(FRAMES, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    settings: dict[str, Any] = {"num_inference_steps": STEPS, "output_type": "np"}
    images = pipeline(batch_size=FRAMES, generator=torch.Generator().manual_seed(0), **settings).images
    return Original(folder, noise.numpy(), _rounded(images))


def ddpm_folder(folder: Path) -> Original:
    """A pipeline that was trained with DDPMScheduler, sampled with DDIM by its settings: no clipping, offset 1."""
    scheduler = diffusers.DDPMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    network = unet(1)
    diffusers.DDPMPipeline(network, scheduler).save_pretrained(folder)
    return _by_scheduler(folder, network, diffusers.DDIMScheduler.from_config(scheduler.config), 1)


def zero_snr_folder(folder: Path) -> Original:
    """One channel, not square, v prediction with zero terminal SNR and trailing timesteps, final alpha-bar below 1."""
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        set_alpha_to_one=False,
        clip_sample_range=1.5,
    )
    network = unet(2, in_channels=1, out_channels=1, sample_size=(16, 24), **FLAT)
    diffusers.DDIMPipeline(network, scheduler).save_pretrained(folder)
    return _by_scheduler(folder, network, scheduler, 2)


def class_folder(folder: Path) -> Original:
    """A class-conditional UNet2DModel that predicts the image, evenly spaced timesteps."""
    scheduler = diffusers.DDIMScheduler(prediction_type="sample", timestep_spacing="linspace", num_train_timesteps=500)
    network = unet(3, num_class_embeds=5)
    network.save_pretrained(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    return _by_scheduler(folder, network, scheduler, 3, [0, 1, 2, 3, 4, 0, 1, 2])


def conditional_folder(folder: Path) -> Original:
    """A UNet2DConditionModel with class labels and no cross-attention, as a U-Net and a scheduler."""
    torch.manual_seed(4)
    shape = {"sample_size": 16, "in_channels": 3, "out_channels": 3, "cross_attention_dim": 8, "attention_head_dim": 4}
    blocks = {**FLAT, "mid_block_type": "UNetMidBlock2D", "num_class_embeds": 4}
    network = loud(diffusers.UNet2DConditionModel(**shape, **blocks), 3, None, class_labels=torch.tensor([0, 1]))
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    network.save_pretrained(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    return _by_scheduler(folder, network, scheduler, 4, [0, 1, 2, 3, 3, 2, 1, 0])


def denoising_diffusion(
    folder: Path,
    objective: str = "pred_v",
    schedule: str = "sigmoid",
    channels: int = 3,
    size: tuple[int, int] = (16, 16),
) -> Original:
    """A file as denoising-diffusion-pytorch's Trainer.save writes it, drawn by ddim_sample with the EMA's weights."""
    library = import_denoising_diffusion()
    torch.manual_seed(5)

    def diffusion(network: nn.Module) -> Any:
        shape = {"image_size": size, "sampling_timesteps": STEPS}
        return library.GaussianDiffusion(network, objective=objective, beta_schedule=schedule, **shape)

    network = loud(library.Unet(dim=16, dim_mults=(1, 2), channels=channels), channels)
    averaged, last = diffusion(network), diffusion(library.Unet(dim=16, dim_mults=(1, 2), channels=channels))
    ema = {"initted": torch.tensor(True), "step": torch.tensor(100)}
    ema |= {f"online_model.{name}": weight for name, weight in last.state_dict().items()}
    ema |= {f"ema_model.{name}": weight for name, weight in averaged.state_dict().items()}
    optimizer = torch.optim.Adam(last.parameters()).state_dict()
    content = {"step": 100, "model": last.state_dict(), "opt": optimizer, "ema": ema, "scaler": None, "version": "2"}
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / "model-1.pt")
    shape = (FRAMES, channels, *size)
    torch.manual_seed(6)
    noise = torch.randn(shape)
    torch.manual_seed(6)
    with torch.no_grad():
        images = averaged.ddim_sample(shape)
    frames = _rounded(images.clamp(0.0, 1.0).permute(0, 2, 3, 1).numpy())
    return Original(folder / "model-1.pt", noise.numpy(), frames, ["--image-size", f"{size[0]}x{size[1]}"])


def import_denoising_diffusion() -> Any:
    """The library; torchvision, of which its trainer alone makes use, needn't be there."""
    if importlib.util.find_spec("torchvision") is None:
        absent = types.ModuleType("torchvision")
        absent.transforms = absent.utils = types.ModuleType("torchvision.absent")  # type: ignore[attr-defined]
        sys.modules["torchvision"] = absent
    try:
        import denoising_diffusion_pytorch.denoising_diffusion_pytorch as library
    finally:
        sys.modules.pop("torchvision", None)
    return library


ORIGINALS: dict[str, Callable[[Path], Original]] = {
    "diffusers UNet2DModel, DDIM, linear, epsilon": pipeline_folder,
    "diffusers UNet2DModel, DDPM, scaled-linear, offset 1": ddpm_folder,
    "diffusers UNet2DModel, 1 x 16 x 24, v, zero SNR": zero_snr_folder,
    "diffusers UNet2DModel, 5 classes, x0": class_folder,
    "diffusers UNet2DConditionModel, 4 classes, epsilon": conditional_folder,
    "denoising-diffusion-pytorch, sigmoid, v": denoising_diffusion,
    "denoising-diffusion-pytorch, cosine, epsilon": lambda f: denoising_diffusion(f, "pred_noise", "cosine"),
    "denoising-diffusion-pytorch, linear, x0, 1 x 16 x 24": lambda f: denoising_diffusion(
        f, "pred_x0", "linear", 1, (16, 24)
    ),
}


def _by_scheduler(folder: Path, network: Any, scheduler: Any, seed: int, labels: list[int] | None = None) -> Original:
    """Drawn by the scheduler's own steps, for models that no pipeline of the library samples by DDIM."""
    size = network.config.sample_size
    sides = (size, size) if isinstance(size, int) else tuple(size)
    noise = torch.randn(FRAMES, network.config.in_channels, *sides, generator=torch.Generator().manual_seed(seed))
    classes = None if labels is None else torch.tensor(labels)
    context = (None,) if isinstance(network, diffusers.UNet2DConditionModel) else ()
    scheduler.set_timesteps(STEPS)
    x: Tensor = noise
    with torch.no_grad():
        for t in scheduler.timesteps:
            prediction = network(x, t, *context, class_labels=classes).sample
            x = scheduler.step(prediction, t, x, eta=0.0).prev_sample
    frames = _rounded((x / 2 + 0.5).clamp(0.0, 1.0).permute(0, 2, 3, 1).numpy())
    return Original(folder, noise.numpy(), frames, classes=None if labels is None else [str(n) for n in labels])


def _rounded(images: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Images [N, H, W, C] from 0 to 1 as uint8."""
    return np.asarray((images * 255.0).round(), dtype=np.uint8)


def difference(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Absolute difference of every pixel."""
    return np.abs(first.astype(np.int64) - second.astype(np.int64))


def main() -> None:
    print("| model | largest difference of 255 | pixels that differ | standard deviation of the frames |")
    print("|---|---|---|---|")
    for name, make in ORIGINALS.items():
        with tempfile.TemporaryDirectory() as folder:
            original = make(Path(folder) / "model")
            off = difference(original.exported(Path(folder) / "bundle"), original.frames)
        print(f"| {name} | {off.max()} | {(off > 0).mean():.2%} | {original.frames.std():.0f} |")


if __name__ == "__main__":
    main()
