"""The few-step sampler of a bundle: what the checkpoint wants, or what was asked for where it leaves a choice.

    sampler = choose_sampler(checkpoint, steps=10, guidance=None)

Nothing that the checkpoint wasn't trained for gets through.
"""

from __future__ import annotations

from contract.bundle import Sampler
from contract.errors import UsageError
from contract.guidance import check_guidance
from contract.schedule import ddim_coefficients, trailing
from models.checkpoint import Checkpoint


def choose_sampler(checkpoint: Checkpoint, steps: int | None = None, guidance: float | None = None) -> Sampler:
    """DDIM with trailing timesteps, or with a student's own; None takes the checkpoint's default.

    Raises UsageError for steps or guidance that a student wasn't trained for, for guidance without a null
    condition, and for epsilon prediction that would have to start at alpha_bar 0.
    """
    timesteps = _timesteps(checkpoint, steps)
    alpha_bar = checkpoint.diffusion.alpha_bar()[list(timesteps)]
    ddim_coefficients(alpha_bar, checkpoint.diffusion.prediction)
    return Sampler(
        timesteps, tuple(alpha_bar.tolist()), checkpoint.diffusion.prediction, _guidance(checkpoint, guidance)
    )


def _timesteps(checkpoint: Checkpoint, steps: int | None) -> tuple[int, ...]:
    own = checkpoint.sampler.timesteps
    if own is None:
        chosen = trailing(checkpoint.diffusion.timesteps, checkpoint.sampler.steps if steps is None else steps)
        return tuple(chosen.tolist())
    if steps not in (None, len(own)):
        raise UsageError(f"--steps {steps}: the checkpoint was trained for {len(own)} steps only; leave --steps out")
    return own


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
