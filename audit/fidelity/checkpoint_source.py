"""The runs of a checkpoint in torch: few-step DDIM, and DDPM over every timestep as the slow reference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from audit.fidelity.runs import DEFAULT_STEPS, Annotate, Draw, Run, RunFilter
from contract.conditions import Array
from contract.errors import Unavailable, UsageError
from contract.frames import Frames
from contract.guidance import check_guidance
from contract.noise import initial_noises
from contract.schedule import ddim_coefficients
from models.checkpoint import read_checkpoint
from models.denoiser import Denoiser
from models.diffusion import ddim, ddpm


class CheckpointSource:
    """Draws with the reference samplers, in float32 or with the network in bfloat16."""

    def __init__(self, path: Path, seed: int = 0, batch: int = 32, device: str = "cpu") -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise Unavailable("--backend: torch finds no GPU here, which a checkpoint needs for it; take --backend cpu")
        torch.backends.cudnn.allow_tf32 = False  # the reference is float32 throughout
        self.checkpoint = read_checkpoint(path)
        config = self.checkpoint.config
        self.path, self.name = path, path.stem
        self.schema, self.image = self.checkpoint.schema, config.image
        self.lineage: object = self.checkpoint.lineage
        self.fixed = self.checkpoint.sampler.timesteps is not None
        self._seed, self._batch, self._device = seed, batch, device

    def runs(self, wanted: RunFilter) -> list[Run]:
        """Samplers x guidance x steps; UsageError for what it wasn't trained for."""
        own = self.checkpoint.sampler
        if wanted.precisions is not None and "fp32" not in wanted.precisions:
            fix = f"export it and audit the bundle: python -m export {self.path} --precision {wanted.precisions[0]}"
            raise UsageError(f"--precision: {self.path} is drawn in fp32; {fix}")
        if own.timesteps is not None:
            wanted.check_fixed(self.path, "ddim", len(own.timesteps), own.guidance)
            return [self._run("ddim", len(own.timesteps), own.guidance, wanted.torch)]
        runs = []
        for guidance in wanted.guidance or (own.guidance,):
            self._check_guidance(guidance)
            for sampler in wanted.samplers:
                total = self.checkpoint.diffusion.timesteps
                steps = (wanted.steps or DEFAULT_STEPS) if sampler == "ddim" else (total,)
                runs += [self._run(sampler, count, guidance, wanted.torch) for count in steps]
        for run in runs:
            if run.sampler == "ddim":
                self._timesteps(run.steps)
        return runs

    @contextmanager
    def drawer(self, run: Run) -> Iterator[Draw]:
        """The network on its device."""
        network = self.checkpoint.network().to(self._device)
        if run.precision != "fp32":
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        sample = self._ddpm if run.sampler == "ddpm" else self._ddim
        model = _Bfloat16(network, self._device) if run.precision == "bf16" else network
        yield lambda vectors, indices: sample(model, run, vectors, indices)

    def annotator(self) -> Annotate | None:
        """The checkpoint's annotator, fp32."""
        trained = self.checkpoint.annotator
        return None if trained is None else trained.network(self.schema).to(self._device).annotate

    def _ddim(self, network: Denoiser, run: Run, vectors: Array, indices: range) -> Frames:
        timesteps, parts = self._timesteps(run.steps), []
        for first in range(0, len(indices), self._batch):
            noise, condition = self._start(vectors[first : first + self._batch], indices[first : first + self._batch])
            _, frames = ddim(network, self.checkpoint.diffusion, noise, condition, timesteps, run.guidance)
            parts.append(frames.cpu().numpy())
        return np.concatenate(parts)

    def _ddpm(self, network: Denoiser, run: Run, vectors: Array, indices: range) -> Frames:
        """All at once, since one stream makes the noise of every step; seeded by the index of the first frame.

        The document's sampler doesn't clip. Where the network predicts the image, guidance carries it out of its
        range at every step, and DDIM clips it too.
        """
        noise, condition = self._start(vectors, indices)
        (seed,) = np.random.SeedSequence([self._seed, indices.start]).generate_state(1, np.uint64) >> np.uint64(1)
        stream = torch.Generator(self._device).manual_seed(int(seed))
        diffusion = self.checkpoint.diffusion
        clip = diffusion.prediction != "epsilon"
        _, frames = ddpm(network, diffusion, noise, condition, run.guidance, clip, stream)
        return np.asarray(frames.cpu().numpy())

    def _start(self, vectors: Array, indices: range) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.from_numpy(initial_noises(self._seed, indices, tuple(self.image)))
        return noise.to(self._device), torch.from_numpy(vectors).to(self._device)

    def _timesteps(self, steps: int) -> tuple[int, ...]:
        chosen, diffusion = self.checkpoint.timesteps(steps), self.checkpoint.diffusion
        ddim_coefficients(diffusion.alpha_bar()[list(chosen)], diffusion.prediction)
        return chosen

    def _check_guidance(self, guidance: float) -> None:
        check_guidance(guidance)
        if guidance != 1.0 and not self.checkpoint.guided:
            raise UsageError(f"--guidance {guidance:g}: {self.path} has no null condition; leave --guidance out")

    def _run(self, sampler: str, steps: int, guidance: float, precision: str) -> Run:
        return Run(self.name, self.checkpoint.sha256, sampler, steps, precision, float(guidance), self._seed)


class _Bfloat16(Denoiser):
    """A network in bfloat16 whose predictions are float32, as the sampler computes with them."""

    def __init__(self, network: Denoiser, device: str) -> None:
        super().__init__()
        self.config, self.null_condition = network.config, network.null_condition
        self._network, self._device = network, device

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """As the network's own."""
        with torch.autocast(self._device, torch.bfloat16):
            prediction: torch.Tensor = self._network(x, timesteps, condition)
        return prediction.float()
