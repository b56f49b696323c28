"""The scheduler of a diffusers folder: its noise schedule, and its own few-step DDIM.

diffusion, few_steps, assumed = read_scheduler(Path("cat-64/scheduler"), Given())
few_steps(10).coefficients()
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from contract.bundle import Sampler
from contract.errors import Refused, Unavailable, UsageError
from contract.files import read_json
from contract.limits import Timesteps
from contract.record import convert, one_of
from contract.schedule import Diffusion
from models.importers.find_schedule import NAMES, clipped, find_schedule, own_steps
from models.importers.given import Given

NOT_DDIM = ("flow", "edm")
"""In a scheduler's class name: noise that isn't added as DDIM removes it."""

Beta = Annotated[float, Meta(ge=0.0, le=1.0)]


CLIPPING = ("DDIM", "DDPM")
"""How the schedulers are called that clip the predicted image where their settings don't say; others never do."""


@dataclass(frozen=True)
class SchedulerSettings:
    """What of scheduler_config.json decides how frames are drawn, with diffusers' defaults."""

    num_train_timesteps: Timesteps = 1000
    beta_schedule: str = "linear"
    beta_start: Beta = 0.0001
    beta_end: Beta = 0.02
    trained_betas: list[Beta] | None = None
    prediction_type: Annotated[str, one_of("epsilon", "sample", "v_prediction")] = "epsilon"
    clip_sample: bool = True
    clip_sample_range: Annotated[float, Meta(gt=0.0, le=100.0)] = 1.0
    set_alpha_to_one: bool = True
    steps_offset: Annotated[int, Meta(ge=0, le=1000)] = 0
    timestep_spacing: Annotated[str, one_of("leading", "linspace", "trailing")] = "leading"
    rescale_betas_zero_snr: bool = False
    thresholding: bool = False


def read_scheduler(folder: Path, given: Given) -> tuple[Diffusion, Callable[[int], Sampler], dict[str, str]]:
    """Noise schedule and few-step DDIM: the scheduler's own where there is one, else what is given."""
    path = folder / "scheduler_config.json"
    if not path.is_file():
        path = folder.parent / "scheduler_config.json"
    if not path.is_file():
        diffusion, assumed = find_schedule({}, {}, given)
        return diffusion, partial(own_steps, diffusion, given), assumed
    settings = read_json(path, finite=False)  # DPM-Solver's has an infinity, which decides nothing here
    name = str(settings.get("_class_name"))
    if any(word in name.lower() for word in NOT_DDIM) or "beta_schedule" not in settings:
        raise Refused(f"{path}: a {name[:60]}, whose noise DDIM doesn't remove; expected a DDPM or DDIM scheduler")
    own = {field.name: settings[field.name] for field in fields(SchedulerSettings) if field.name in settings}
    if not name.startswith(CLIPPING):
        own.setdefault("clip_sample", False)
    checked_settings = convert(own, SchedulerSettings, str(path))
    if checked_settings.thresholding:
        raise Refused(f"{path}: dynamic thresholding, which depends on the image; expected clip_sample or nothing")
    scheduler = checked(partial(import_diffusers().DDIMScheduler, **asdict(checked_settings)), str(path))
    prediction = NAMES.get(checked_settings.prediction_type, checked_settings.prediction_type)
    table = tuple(scheduler.alphas_cumprod.double().tolist())
    diffusion = Diffusion.from_dict(Diffusion(len(table), "table", prediction, table).to_dict())
    for flag, value in given.flags().items():
        if flag in ("--beta-schedule", "--timesteps", "--prediction"):
            raise UsageError(f"{flag} {value}: {path} says it; leave {flag} out")
    assumed = {} if name == "DDIMScheduler" else {"sampler": f"DDIM, where the folder says {name}"}
    return diffusion, partial(_few_steps, scheduler, prediction, given), assumed


def _few_steps(scheduler: Any, prediction: str, given: Given, steps: int) -> Sampler:
    """The scheduler's deterministic DDIM as `DDIMPipeline` runs it: the predicted noise stays, whatever is clipped."""
    total = len(scheduler.alphas_cumprod)
    if not 1 <= steps <= total:
        raise UsageError(f"--steps {steps}: expected 1 to {total}")
    scheduler.set_timesteps(steps)
    timesteps = [int(t) for t in scheduler.timesteps.tolist()]
    if max(timesteps) >= total:
        raise UsageError(f"--steps {steps}: starts at timestep {max(timesteps)} of {total} by steps_offset; take fewer")
    table, final = scheduler.alphas_cumprod.double().tolist(), float(scheduler.final_alpha_cumprod)
    before = [t - total // steps for t in timesteps]
    following = tuple(table[t] if t >= 0 else final for t in before)
    now = tuple(table[t] for t in timesteps)
    return clipped(
        Sampler(
            tuple(timesteps),
            now,
            prediction,
            clip=bool(scheduler.config.clip_sample),
            clip_range=float(scheduler.config.clip_sample_range),
            rederive=False,
            final_alpha_bar=following[-1],
            next_alpha_bar=() if following[:-1] == now[1:] else following,
        ),
        given,
    )


def checked(build: partial[Any], file: str) -> Any:
    """What diffusers builds of the settings in a file; Refused where they aren't a model's."""
    try:
        return build()
    except Unavailable:
        raise
    except Exception as error:  # diffusers raises whatever comes up in odd settings
        raise Refused(f"{file}: {type(error).__name__}: {' '.join(str(error).split())[:160]}") from error


def import_diffusers() -> Any:
    """The package; Unavailable where it isn't installed."""
    try:
        import diffusers
    except ImportError as error:
        raise Unavailable("diffusers isn't installed; run: pip install '.[import]'") from error
    return diffusers
