"""Fine-tune a checkpoint on private frames with differential privacy (DP-SGD, arXiv 1607.00133), by Opacus.

    python -m training.train build/private --init-from public.pt --dp-epsilon 10 --dp-delta 1e-5 --dp-unit driver

    checkpoint = fine_tune(public, source, Budget(10.0, 1e-5, "driver"), PrivateRecipe())

The start was trained on public (rendered) frames; few parameters are trained. Each step draws every unit with the same
probability (Poisson), clips what a unit adds to the gradient, and adds noise. All that is random follows from 128 bits
of the operating system that aren't kept, timesteps and the diffusion's noise as well: by a known seed, whoever is drawn
would move the noise of others, which clipping doesn't bound, and the privacy noise could be subtracted. So a private
run can't be repeated exactly, on purpose.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from contract.cli import integer
from contract.conditions import Array
from contract.driver_hashes import trained_on, training_steps
from contract.errors import Refused, Unavailable, UsageError
from contract.frames import to_images
from contract.privacy_budget import UNITS
from contract.progress import progress_bar
from contract.schedule import Diffusion
from models.checkpoint import Checkpoint
from models.denoiser import Denoiser
from models.loss import targets
from sources.base import LabelledFrames
from sources.drivers import driver_keys
from training.accounting import INSTALL, Budget, epsilon_spent, noise_multiplier
from training.lineage import driver_lineage

AT_ONCE = 64
"""Frames whose gradients are computed together: each of them keeps its own activations."""


@dataclass(frozen=True)
class PrivateRecipe:
    """How long and how fast to learn."""

    steps: int = 200
    units: int = 256
    """Expected number of units (frames or drivers) in a step."""
    frames: int = 4
    """Frames that represent a driver in a step, where drivers are the unit."""
    clip: float = 1.0
    """Largest norm of what one unit adds to the gradient."""
    lr: float = 1e-3
    layers: str = "few"
    """`few`: biases and the last convolution (after arXiv 2210.00036); `all`"""


def fine_tune(
    start: Checkpoint,
    source: LabelledFrames,
    budget: Budget,
    recipe: PrivateRecipe,
    optimizer_class: type[Any] | None = None,
    device: str = "cpu",
    secret: int | None = None,
) -> Checkpoint:
    """The fine-tuned checkpoint, with what was spent in its lineage; a secret makes it repeatable, in tests.

    Raises UsageError where a step would draw more units than there are, Refused where drivers are the unit and unknown
    or where the start saw the private frames.
    """
    check_start(start, source)
    units = unit_rows(source, budget.unit)
    rate = recipe.units / len(units)
    if rate > 1.0:
        raise UsageError(f"{recipe.units} units a step, and {len(units)} {budget.unit}s in all; take fewer")
    noise = noise_multiplier(budget, rate, recipe.steps)
    spent = epsilon_spent(noise, rate, recipe.steps, budget.delta)
    network = start.network().to(device)
    trained = choose_layers(network, recipe.layers)
    draw = np.random.Generator(np.random.Philox(secrets.randbits(128) if secret is None else secret))
    optimizer = (optimizer_class or private_optimizer())(
        torch.optim.Adam(list(trained.values()), recipe.lr),
        noise_multiplier=noise,
        max_grad_norm=recipe.clip,
        expected_batch_size=recipe.units,
        generator=draw,
    )
    for _ in progress_bar(range(recipe.steps), desc="private steps", unit="step"):
        drawn = [units[number] for number in np.flatnonzero(draw.random(len(units)) < rate)]
        each = 1 if budget.unit == "frame" else recipe.frames
        rows = np.array([draw.choice(of_unit, each) for of_unit in drawn], np.int64).reshape(-1)
        images, conditions = to_images(source.frames[rows]), source.conditions[rows]
        gradients = unit_gradients(network, trained, start.diffusion, images, conditions, each, draw)
        for name, weight in trained.items():
            weight.grad_sample = gradients[name]  # type: ignore[attr-defined]
        optimizer.step()
        optimizer.zero_grad()
    lineage = {
        "data": source.fingerprint,
        "frames": len(source.frames),
        "steps": recipe.steps,
        **budget.to_lineage(spent),
        "private": {"noise": noise, "rate": rate, **asdict(recipe)},
        "drivers": driver_lineage(source),
        "init_from": start.sha256,
        "before": dict(start.lineage),
    }
    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    return replace(start, weights=weights, lineage=lineage, sha256="")


def check_start(start: Checkpoint, source: LabelledFrames) -> None:
    """Refused where a start was trained on frames or drivers of the source, so that no epsilon would hold for them, and
    for a student, whose few steps squared error against frames would undo."""
    lineage = start.lineage
    if start.sampler.timesteps is not None:
        raise Refused("the start was distilled to few steps, which fine-tuning would blur; begin with its teacher")
    if lineage.get("epsilon") is not None:
        raise Refused("the start was trained privately already, and both epsilons add up; begin with its own start")
    public = "begin with a checkpoint of public frames"
    if any(step.get("data") == source.fingerprint for step in training_steps(lineage)):
        raise Refused(f"the start was trained on these frames, without privacy; {public}")
    known = [key for key in sorted(set(driver_keys(source) or ())) if trained_on(lineage, key)]
    if known:
        raise Refused(f"the start was trained on {len(known)} drivers of these frames, such as {known[0]}; {public}")


def unit_rows(source: LabelledFrames, unit: str) -> list[Any]:
    """The rows of each unit; Refused where drivers are the unit and the source doesn't know them."""
    if unit == "frame":
        return list(np.arange(len(source.frames))[:, None])
    if source.subjects is None:
        raise Refused("--dp-unit driver: the source doesn't say whose frames they are; give one that does")
    order = np.argsort(source.subjects, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(source.subjects[order])) + 1)


def choose_layers(network: Denoiser, layers: str) -> dict[str, Tensor]:
    """The parameters that are trained, by name; the others are frozen."""
    chosen: dict[str, Tensor] = {
        name: weight
        for name, weight in network.named_parameters()
        if name != "null_condition" and (layers == "all" or weight.ndim == 1 or name.startswith("out."))
    }
    network.requires_grad_(False)
    for weight in chosen.values():
        weight.requires_grad_(True)
    return chosen


def unit_gradients(
    network: Denoiser,
    trained: Mapping[str, Tensor],
    diffusion: Diffusion,
    images: Array,  # [U * each, C, H, W]
    conditions: Array,  # [U * each, D]
    each: int,
    draw: np.random.Generator,
) -> dict[str, Tensor]:
    """Gradient of every unit's mean loss, [U, *weight] by name; of no unit at all where none was drawn.

    Timesteps and noise are drawn from a generator that nobody knows: by a known one, a unit would move those of others.
    """
    if not len(images):
        return {name: weight.new_zeros((0, *weight.shape)) for name, weight in trained.items()}
    device = next(iter(trained.values())).device
    clean, vectors = torch.from_numpy(images).to(device), torch.from_numpy(conditions).to(device)
    timesteps = torch.from_numpy(draw.integers(diffusion.timesteps, size=len(clean))).to(device)
    noise = torch.from_numpy(draw.standard_normal(clean.shape, np.float32)).to(device)
    noisy, target, scales = targets(diffusion, clean, noise, timesteps)

    def loss(weights: dict[str, Tensor], x: Tensor, t: Tensor, vector: Tensor, goal: Tensor, scale: Tensor) -> Tensor:
        prediction = functional_call(network, weights, (x[None], t[None], vector[None]))
        error: Tensor = scale * ((prediction[0] - goal) ** 2).mean()
        return error

    weights = {name: value.detach() for name, value in trained.items()}
    every = vmap(grad(loss), (None, 0, 0, 0, 0, 0), chunk_size=AT_ONCE)
    found = every(weights, noisy, timesteps, vectors, target, scales)
    return {name: value.unflatten(0, (-1, each)).mean(dim=1) for name, value in found.items()}


def private_optimizer() -> type[Any]:
    """Opacus's optimizer (it clips each unit, sums, adds noise and divides by the expected number of units).

    Its noise comes from numpy: torch's generator has 32 bits of a seed on a CPU, few enough to try them all.
    """
    try:
        from opacus.optimizers import DPOptimizer
    except ImportError as error:
        raise Unavailable(f"{error.name or 'opacus'} {INSTALL}") from error

    class PrivateOptimizer(DPOptimizer):  # type: ignore[misc, unused-ignore]
        generator: np.random.Generator

        def add_noise(self) -> None:
            for weight in self.params:
                noise = self.generator.standard_normal(weight.shape, np.float32)
                scaled = torch.from_numpy(noise).to(weight.device) * (self.noise_multiplier * self.max_grad_norm)
                weight.grad = (weight.summed_grad + scaled).view_as(weight)

    return PrivateOptimizer


def add_privacy_flags(parser: argparse.ArgumentParser) -> None:
    """The flags with which `training.train` trains privately; --dp-epsilon turns it on."""
    add, default = parser.add_argument, PrivateRecipe()
    add("--dp-epsilon", type=float, metavar="E", help="fine-tune --init-from with this epsilon at most (not private)")
    add("--dp-delta", type=float, default=1e-5, metavar="D", help="(1e-5)")
    add("--dp-unit", choices=UNITS, default="driver", help="whose contribution is bounded (driver)")
    for name, text in (
        ("steps", "steps"),
        ("units", "frames or drivers a step, on average"),
        ("frames", "a driver's frames in a step"),
    ):
        known = getattr(default, name)
        add(f"--dp-{name}", type=integer(1, 10**7), default=known, metavar="N", help=f"{text} ({known})")
    add(
        "--dp-layers",
        choices=("few", "all"),
        default=default.layers,
        help="biases and the last convolution, or all (few)",
    )


def run_privately(
    args: argparse.Namespace, source: LabelledFrames, start: Checkpoint | None, device: str
) -> Checkpoint:
    """What `training.train --dp-epsilon` does; UsageError without a public checkpoint to begin with."""
    if start is None:
        raise UsageError("--dp-epsilon: needs --init-from, a checkpoint that was trained on public frames")
    if args.critic is not None:
        raise UsageError("--critic: judges training without privacy only; leave it out, or --dp-epsilon")
    if not start.schema.encodes_like(source.schema) or start.config.image != source.image:
        raise Refused(
            f"{args.init_from}: draws other frames than {args.data} holds; give a checkpoint of the same kind"
        )
    counts = args.dp_steps, args.dp_units, args.dp_frames
    recipe = PrivateRecipe(*counts, lr=args.lr, layers=args.dp_layers)
    return fine_tune(start, source, Budget(args.dp_epsilon, args.dp_delta, args.dp_unit), recipe, device=device)
