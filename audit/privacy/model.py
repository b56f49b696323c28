"""What white-box attacks ask of a model: the clean image that it predicts, at its own timesteps and guidance.

    model = open_model(Path("checkpoints/cabin128.pt"))             # torch; or a bundle, through its step graph
    x0 = model.predict_x0(x, step, condition)                      # float32 [N, C, H, W] like x

Both kinds give the same numbers, so that an attack on what a vehicle carries is one on the checkpoint as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from contract.bundle import FIX, open_checked, read_manifest
from contract.conditions import Array, Schema
from contract.errors import Refused, Unavailable
from contract.frames import Images, ImageShape
from contract.schedule import Float64, ddim_coefficients
from runtime.backends.onnx_interface import EngineErrors, check_step_graph
from runtime.backends.ort import CPU, import_onnxruntime, new_session

if TYPE_CHECKING:
    from models.checkpoint import Checkpoint

BATCH = 64
STEPS = 10
"""Timesteps at which a checkpoint is attacked that has none of its own."""


class Model(Protocol):
    """A model that can be asked for single predictions."""

    schema: Schema
    image: ImageShape
    alpha_bar: Float64
    """[K], rising: of the timesteps in the order in which they run"""
    timesteps: tuple[int, ...]
    """[K]: the same"""
    guidance: float
    checkpoint: str
    """sha256 of the checkpoint that it is or comes from"""
    identity: str
    """What its predictions follow from: the sha256 of its file, and its timesteps and guidance"""

    def predict_x0(self, x: Images, step: int, condition: Array) -> Images:
        """The clean image that the model sees in x [N, C, H, W] at the step-th timestep."""


class TorchModel:
    """A checkpoint in torch, float32."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        steps: int | None = None,
        device: str = "cpu",
        timesteps: tuple[int, ...] | None = None,
        guidance: float | None = None,
    ) -> None:
        """At given timesteps, else at the checkpoint's own ones, else at `steps` as it spaces them."""
        sampler, diffusion = checkpoint.sampler, checkpoint.diffusion
        self.schema, self.image = checkpoint.schema, checkpoint.config.image
        self.timesteps = timesteps or checkpoint.timesteps(steps or STEPS)
        self.alpha_bar = diffusion.alpha_bar()[list(self.timesteps)]
        self._table = ddim_coefficients(self.alpha_bar, diffusion.prediction)
        self.guidance = sampler.guidance if guidance is None else guidance
        self._network, self._device = checkpoint.network().to(device), device
        self.checkpoint = checkpoint.sha256
        self.identity = f"{checkpoint.sha256} {self.timesteps} {self.guidance}"

    def predict_x0(self, x: Images, step: int, condition: Array) -> Images:
        """As `Model` has it; clipped to [-1, 1], as the sampler does."""
        import torch

        from models.diffusion import predict

        a, b = self._table[step, :2].tolist()
        parts = []
        with torch.no_grad():
            for first in range(0, len(x), BATCH):
                part, vectors = (
                    torch.from_numpy(array[first : first + BATCH]).to(self._device) for array in (x, condition)
                )
                x0 = a * part + b * predict(self._network, part, self.timesteps[step], vectors, self.guidance)
                parts.append(x0.clamp(-1.0, 1.0).cpu().numpy())
        return np.concatenate(parts)


class StepGraphModel:
    """The step graph of a bundle in ONNX Runtime: x0 is what its update x_next = c x + d x0 was computed from."""

    def __init__(self, folder: Path, precision: str = "fp32") -> None:
        manifest, name = read_manifest(folder), f"step.{precision}.onnx"
        if name not in manifest.files:
            raise Refused(f"{folder}: no {name}; {FIX.format(folder=folder)}")
        self.schema, self.image = manifest.schema, manifest.image
        self.alpha_bar = np.asarray(manifest.sampler.alpha_bar, np.float64)
        self.timesteps, self.guidance = tuple(manifest.sampler.timesteps), manifest.sampler.guidance
        self.checkpoint = str(manifest.source.get("checkpoint", ""))
        self.identity = f"{manifest.files[name].sha256} {manifest.sampler}"
        self._table = manifest.sampler.coefficients()
        if self._table[:, 4].any():
            raise Refused(f"{folder}: its sampler keeps the predicted noise, so that x0 can't be told from its updates")
        ort, content = import_onnxruntime("cpu"), open_checked(folder, manifest, name)
        self._guarded = EngineErrors(str(folder / name), FIX.format(folder=folder))
        self._session = self._guarded(lambda: new_session(ort, content, CPU))
        check_step_graph(self._guarded, self._session.get_inputs(), self._session.get_outputs(), None, manifest)

    def predict_x0(self, x: Images, step: int, condition: Array) -> Images:
        """As `Model` has it."""
        c, d = self._table[step, 2:4]
        parts = []
        for first in range(0, len(x), BATCH):
            part = x[first : first + BATCH]
            feeds = {"x": part, "condition": condition[first : first + BATCH], "step": np.array(step)}
            (x_next,) = self._guarded(lambda feeds=feeds: self._session.run(["x_next"], feeds))  # type: ignore[misc]
            parts.append(((x_next - c * part) / d).astype(np.float32))
        return np.concatenate(parts)


def open_model(path: Path, steps: int | None = None, device: str = "cpu") -> Model:
    """A folder as a bundle, a file as a checkpoint; Refused where it is neither, Unavailable without torch."""
    if path.is_dir():
        return StepGraphModel(path)
    try:
        from models.checkpoint import read_checkpoint
    except ImportError as error:
        raise Unavailable(f"{error.name or 'torch'} isn't installed; run: pip install '.[train]'") from error
    return TorchModel(read_checkpoint(path), steps, device=device)
