"""What a checkpoint may hold: weights that fit its network, and a bounded amount of plain values.

Declared sizes are compared before anything of that size is allocated.

    content = validate_plain(content)
    check_weights("edge", shapes_of(config), content["weights"])
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from contract.errors import Refused
from contract.limits import MAX_DEPTH, MAX_TEXT, MAX_VALUES

STORED = (torch.float16, torch.bfloat16, torch.float32)
TENSORS = {"weights", "annotator.weights"}
"""Where a checkpoint holds tensors, which `check_weights` sees to."""


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
        if weight.numel() * weight.element_size() > weight.untyped_storage().nbytes():
            raise Refused(f"weight {name} declares more numbers than the file holds; save the state dict again")
        if not bool(torch.isfinite(weight).all()):
            raise Refused(f"weight {name} holds NaN or infinity; take an earlier checkpoint of the training run")


def validate_plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a checkpoint's dicts, lists and plain values, with its tensors as they are.

    Refused for anything else, for numbers that aren't finite, and for absurdly much of it.
    """
    budget = [MAX_VALUES, MAX_TEXT]

    def copy(value: object, path: str, depth: int) -> Any:
        if path in TENSORS:
            return value
        budget[0] -= 1
        budget[1] -= len(value) if isinstance(value, str) else 0
        if min(budget) < 0 or depth > MAX_DEPTH:
            raise Refused(f"{path}: more than {MAX_VALUES} values, {MAX_TEXT} characters or {MAX_DEPTH} levels")
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {
                copy(key, f"{path} ", depth): copy(item, f"{path}.{key[:40]}".lstrip("."), depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [copy(item, path, depth + 1) for item in value]
        if value is None or isinstance(value, (str, bool)) or (type(value) is int and abs(value) < 2**64):
            return value
        if type(value) is float and math.isfinite(value):
            return value
        raise Refused(f"{path}: holds a {type(value).__name__} that isn't a finite plain value")

    return copy(content, "", 0)  # type: ignore[no-any-return]


def _shape(name: str, weight: object) -> tuple[int, ...]:
    dense = isinstance(weight, Tensor) and weight.layout == torch.strided and weight.device.type == "cpu"
    if not isinstance(weight, Tensor) or not dense or weight.dtype not in STORED:
        kind = str(weight.dtype) if isinstance(weight, Tensor) else type(weight).__name__
        raise Refused(f"weight {name[:120]} is {kind}; expected a dense float32, bfloat16 or float16 tensor")
    return tuple(weight.shape)
