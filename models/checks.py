"""What a checkpoint may hold: weights that fit its network, and a bounded amount of plain values.

Declared sizes are compared before anything of that size is allocated.

    check_weights("edge", shapes_of(config), data["weights"])
    lineage = plain(data["lineage"], "lineage")
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from contract.errors import Refused

STORED = (torch.float16, torch.bfloat16, torch.float32)

MAX_VALUES = 20_000
MAX_DEPTH = 16
MAX_TEXT = 1 << 20
"""Beyond these the plain part of a checkpoint (schema, lineage ...) is damaged or an attack."""


def check_weights(arch: str, expected: Mapping[str, tuple[int, ...]], weights: object) -> None:
    """Hold weights against the shapes that the network `arch` has; Refused names what doesn't fit."""
    if not isinstance(weights, Mapping) or not weights or not all(isinstance(name, str) for name in weights):
        raise Refused("weights: expected a dict of tensors by name")
    found = {name: _shape(name, weight) for name, weight in weights.items()}
    faults = [
        ("missing", [name for name in expected if name not in found]),
        ("unexpected", [name for name in found if name not in expected]),
        ("of another shape", [
            f"{name} {list(found[name])} instead of {list(shape)}"
            for name, shape in expected.items() if name in found and found[name] != shape
        ]),
    ]  # fmt: skip
    said = [f"{len(names)} {what} ({', '.join(n[:120] for n in names[:3])})" for what, names in faults if names]
    if said:
        raise Refused(f"weights don't fit the network {arch!r}: {'; '.join(said)}; expected its own state dict")
    for name, weight in weights.items():
        if not bool(torch.isfinite(weight).all()):
            raise Refused(f"weight {name} holds NaN or infinity; take an earlier checkpoint of the training run")


def plain(value: object, what: str) -> Any:
    """A copy of dicts, lists and plain values; Refused for anything else, or for absurdly much of it."""
    budget = [MAX_VALUES, MAX_TEXT]

    def copy(value: object, depth: int) -> Any:
        budget[0] -= 1
        budget[1] -= len(value) if isinstance(value, str) else 0
        if min(budget) < 0 or depth > MAX_DEPTH:
            raise Refused(f"{what}: more than {MAX_VALUES} values, {MAX_TEXT} characters or {MAX_DEPTH} levels")
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {copy(key, depth): copy(item, depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [copy(item, depth + 1) for item in value]
        if value is None or isinstance(value, (str, bool)) or (type(value) is int and abs(value) < 2**64):
            return value
        if type(value) is float and math.isfinite(value):
            return value
        raise Refused(f"{what}: holds a {type(value).__name__} that isn't a finite plain value")

    return copy(value, 0)


def _shape(name: str, weight: object) -> tuple[int, ...]:
    dense = isinstance(weight, Tensor) and weight.layout == torch.strided and weight.device.type == "cpu"
    if not isinstance(weight, Tensor) or not dense or weight.dtype not in STORED:
        kind = str(weight.dtype) if isinstance(weight, Tensor) else type(weight).__name__
        raise Refused(f"weight {name[:120]} is {kind}; expected a dense float32, bfloat16 or float16 tensor")
    return tuple(weight.shape)
