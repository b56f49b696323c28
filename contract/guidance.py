"""Classifier-free guidance: the formula and the bound, for arrays and tensors of any library."""

from __future__ import annotations

from typing import Any

from contract.errors import UsageError
from contract.limits import MAX_GUIDANCE


def guided(conditional: Any, unconditional: Any, scale: float) -> Any:
    """unconditional + scale (conditional - unconditional), arXiv 2207.12598: 1 is the conditional prediction."""
    return unconditional + scale * (conditional - unconditional)


def check_guidance(scale: float) -> float:
    """The scale, or UsageError outside 0 to MAX_GUIDANCE."""
    if not 0.0 <= scale <= MAX_GUIDANCE:
        raise UsageError(f"--guidance {scale:g}: expected a number from 0 to {MAX_GUIDANCE:g}")
    return scale
