"""The few-step sampler of a bundle: what the checkpoint asks for, or the arguments where it leaves a choice.

    sampler = choose_sampler(checkpoint, steps=10, guidance=None)

Nothing that the checkpoint wasn't trained for gets through.
"""

from __future__ import annotations

from dataclasses import replace

from contract.bundle import Sampler
from contract.errors import UsageError
from contract.guidance import check_guidance
from models.checkpoint import Checkpoint


def choose_sampler(
    checkpoint: Checkpoint, steps: int | None = None, guidance: float | None = None, shift: float | None = None
) -> Sampler:
    """DDIM with trailing timesteps, with a student's own, or as other software samples; None takes the default.

    Raises UsageError for steps, shift or guidance that a student wasn't trained for, for a shift of another
    software's timesteps, for guidance without a null condition, and for epsilon prediction that would have to start
    at alpha_bar 0.
    """
    scale = _guidance(checkpoint, guidance)
    if checkpoint.imported:
        if shift is not None:
            raise UsageError(f"--shift {shift:g}: it is sampled as its own software does; leave --shift out")
        own = checkpoint.imported.few_steps(checkpoint.sampler.steps if steps is None else steps)
        sampler = replace(own, guidance=scale)
    else:
        timesteps = _timesteps(checkpoint, steps, shift)
        alpha_bar = tuple(checkpoint.diffusion.alpha_bar()[list(timesteps)].tolist())
        sampler = Sampler(timesteps, alpha_bar, checkpoint.diffusion.prediction, scale)
    sampler.coefficients()
    return sampler


def _timesteps(checkpoint: Checkpoint, steps: int | None, shift: float | None) -> tuple[int, ...]:
    own = checkpoint.sampler.timesteps
    if own is not None and steps not in (None, len(own)):
        raise UsageError(f"--steps {steps}: the checkpoint was trained for {len(own)} steps only; leave --steps out")
    if own is not None and shift is not None:
        raise UsageError(f"--shift {shift:g}: the checkpoint has timesteps of its own; leave --shift out")
    return checkpoint.timesteps(steps, shift)


def _guidance(checkpoint: Checkpoint, guidance: float | None) -> float:
    default = checkpoint.sampler.guidance
    if guidance is None or guidance == default:
        return default
    if checkpoint.sampler.timesteps is not None:
        raise UsageError(
            f"--guidance {guidance:g}: the checkpoint was trained for guidance {default:g}; leave --guidance out"
        )
    check_guidance(guidance)
    if guidance != 1.0 and not checkpoint.guided:
        raise UsageError(f"--guidance {guidance:g}: the checkpoint has no null condition; leave --guidance out")
    return guidance
