"""The noise schedule of a file of other software: from its buffers or hyper-parameters, or as it was given.

    diffusion, assumed = find_schedule(buffers, settings, given, default=None)

What stands in the file wins, and a flag that contradicts it is refused; what stands nowhere has to be given, or is
taken by default and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from contract.bundle import Sampler
from contract.errors import Refused, UsageError
from contract.limits import MAX_TIMESTEPS
from contract.schedule import PREDICTIONS, SCHEDULES, Diffusion, trailing
from models.importers.given import Given

SAME_SCHEDULE = 1e-4
"""Absolute, on alpha_bar: tables are stored in float32, and no two schedules in use are as close as this."""

NAMES = {
    "squaredcos_cap_v2": "cosine",
    "scaled_linear": "scaled-linear",
    "eps": "epsilon",
    "pred_noise": "epsilon",
    "noise": "epsilon",
    "v_prediction": "v",
    "pred_v": "v",
    "velocity": "v",
    "sample": "x0",
    "pred_x0": "x0",
    "x_start": "x0",
    "start_x": "x0",
}
"""What other software calls the project's schedules and predictions."""

SCHEDULE_KEYS = ("beta_schedule", "noise_schedule", "schedule", "betas_schedule")
PREDICTION_KEYS = ("prediction_type", "prediction", "objective", "parameterization", "predict", "target")
TIMESTEP_KEYS = ("num_train_timesteps", "timesteps", "num_timesteps", "diffusion_steps", "n_timesteps", "noise_steps")


def find_schedule(
    buffers: Mapping[str, Tensor], settings: Mapping[str, Any], given: Given, default: Diffusion | None = None
) -> tuple[Diffusion, dict[str, str]]:
    """How the network was trained, and what of that was assumed; UsageError asks for what stands nowhere."""
    table = _table(buffers)
    said = {
        "timesteps": _named(settings, TIMESTEP_KEYS, range(1, MAX_TIMESTEPS + 1)),
        "beta_schedule": _named(settings, SCHEDULE_KEYS, SCHEDULES[:-1]),
        "prediction": _named(settings, PREDICTION_KEYS, PREDICTIONS),
    }
    assumed: dict[str, str] = {}
    if table is not None:
        said |= {"timesteps": len(table), "beta_schedule": "table"}
    defaults = {"timesteps": 1000} | (
        {"timesteps": default.timesteps, "beta_schedule": default.schedule, "prediction": default.prediction}
        if default
        else {}
    )
    chosen = {name: _choose(name, said[name], given, defaults.get(name), assumed) for name in said}
    if table is not None and given.beta_schedule is not None:
        named = Diffusion(len(table), given.beta_schedule, "v").alpha_bar()
        if np.abs(named - table).max() > SAME_SCHEDULE:
            raise UsageError(f"--beta-schedule {given.beta_schedule} contradicts the file, which holds other betas")
    numbers = () if table is None else tuple(table.tolist())
    return Diffusion(int(chosen["timesteps"]), chosen["beta_schedule"], chosen["prediction"], numbers), assumed


def own_steps(diffusion: Diffusion, given: Given, sampler_steps: int) -> Sampler:
    """The project's own DDIM for networks that come without a sampler: trailing, clipped, noise re-derived."""
    timesteps = trailing(diffusion.timesteps, sampler_steps)
    alpha_bar = tuple(diffusion.alpha_bar()[timesteps].tolist())
    return clipped(Sampler(tuple(timesteps.tolist()), alpha_bar, diffusion.prediction), given)


def clipped(sampler: Sampler, given: Given) -> Sampler:
    """The sampler with `--clip-range`, where 0 is none."""
    if given.clip_range is None:
        return sampler
    if not 0.0 <= given.clip_range <= 100.0:
        raise UsageError(f"--clip-range {given.clip_range:g}: expected a number from 0 (no clipping) to 100")
    return replace(sampler, clip=given.clip_range > 0.0, clip_range=given.clip_range or 1.0)


def _choose(name: str, said: Any, given: Given, default: Any, assumed: dict[str, str]) -> Any:
    flag, value = f"--{name.replace('_', '-')}", getattr(given, name)
    if value is not None and said not in (None, value, "table"):
        raise UsageError(f"{flag} {value} contradicts the file, which says {said}; leave {flag} out")
    if said is not None:
        return said
    if value is not None:
        assumed[name] = f"{value}, as given"
        return value
    if default is None:
        choices = {"beta_schedule": SCHEDULES[:-1], "prediction": PREDICTIONS}[name]
        raise UsageError(f"the file doesn't say its {name.replace('_', ' ')}; add {flag}, one of {', '.join(choices)}")
    assumed[name] = f"{default}, by default"
    return default


def _named(settings: Mapping[str, Any], keys: tuple[str, ...], known: Any) -> Any:
    values = [settings[key] for key in keys if key in settings]
    values = [NAMES.get(value.lower(), value.lower()) if isinstance(value, str) else value for value in values]
    return next((value for value in values if type(value) in (int, str) and value in known), None)


def _table(buffers: Mapping[str, Tensor]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """alpha_bar of every timestep, where the file holds it or the betas."""
    for name, of_table in (("alphas_cumprod", lambda a: a), ("betas", lambda b: np.cumprod(1.0 - b))):
        values = buffers.get(name)
        if values is not None and values.ndim == 1 and 0 < len(values) <= MAX_TIMESTEPS:
            table = np.asarray(of_table(values.double().numpy()), dtype=np.float64)
            if not (np.all(table >= 0.0) and np.all(table <= 1.0) and np.all(np.diff(table) <= 0.0)):
                raise Refused(f"{name}: expected numbers of a noise schedule; take another file of the training run")
            return table
    return None
