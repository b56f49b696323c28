"""Bare state dicts, such as the source document's own: weights without a word about what they belong to.

What they don't say has to be given; what can be read off their shapes is.

    data = describe(torch.load("doc.pt"), "doc.pt", arch="document", schema="document", image_size=64)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from contract.errors import Refused, UsageError
from contract.schedule import Diffusion
from contract.schemas import SCHEMAS
from models.document import DocumentConfig

NESTED_UNDER = ("state_dict", "model", "model_state_dict")
"""Where training scripts put the state dict among other things."""

ARCHITECTURES = ("document",)
"""The networks whose shape can be read off their weights; the project's own checkpoints carry theirs."""


STEPS = 10
"""Of 1000: few-step DDIM's usual compromise between time and detail."""


def describe(
    content: object, path: str, arch: str | None, schema: str | None, image_size: int | None
) -> dict[str, Any]:
    """A state dict (raw or nested, with or without a `module.` prefix) as the dict of a checkpoint.

    UsageError where a flag is missing or unknown, Refused where there are no weights.
    """
    weights = _find(content)
    if arch is None or schema is None or image_size is None:
        raise UsageError(
            f"a bare state dict of {len(weights)} tensors doesn't say its network, schema and image size; add them:"
            f" python -m export {path} --arch document --schema document --image-size 256"
        )
    if arch not in ARCHITECTURES:
        raise UsageError(f"--arch {arch}: expected one of {', '.join(ARCHITECTURES)} for a bare state dict")
    if schema not in SCHEMAS:
        raise UsageError(f"--schema {schema}: expected one of {', '.join(SCHEMAS)}")

    weights = {_own_name(name): weight for name, weight in weights.items()}
    return {
        "network": _network(weights, image_size, SCHEMAS[schema].width).to_dict(),
        "schema": SCHEMAS[schema].to_dict(),
        "diffusion": Diffusion(1000, "cosine", "epsilon").to_dict(),
        "weights": weights,
        "sampler": {"timesteps": None, "steps": STEPS, "guidance": 1.0},
        "annotator": None,
        "lineage": {},
    }


def _find(content: object) -> dict[str, Tensor]:
    candidates = [content]
    if isinstance(content, Mapping):
        candidates += [content[key] for key in NESTED_UNDER if key in content]
    for candidate in candidates:
        if isinstance(candidate, Mapping) and candidate and all(isinstance(v, Tensor) for v in candidate.values()):
            named = {str(name): weight for name, weight in candidate.items()}
            prefixed = all(name.startswith("module.") for name in named)
            return {name.removeprefix("module.") if prefixed else name: weight for name, weight in named.items()}
    raise Refused(f"no weights in it; expected a state dict, raw or under {', '.join(NESTED_UNDER)}")


def _own_name(name: str) -> str:
    """The middle block's name is not fixed by the document; `middle` is what its users call it, too."""
    return name.replace("unet.middle.", "unet.mid.", 1) if name.startswith("unet.middle.") else name


def _network(weights: Mapping[str, Tensor], size: int, condition_width: int) -> DocumentConfig:
    """The network's config; UsageError where it isn't the weights but the given size that is out of range."""
    try:
        DocumentConfig.from_dict(DocumentConfig().to_dict() | {"size": size, "condition_width": condition_width})
    except Refused as error:
        raise UsageError(f"--image-size {size}: {error}") from error
    return _config(weights, size, condition_width)


def _config(weights: Mapping[str, Tensor], size: int, condition_width: int) -> DocumentConfig:
    """Channels and base width from the first and last convolution where they agree, else the document's."""
    first, last = (weights.get(f"unet.{name}.weight") for name in ("down1.conv.0", "out"))
    if first is not None and last is not None and first.ndim == last.ndim == 4:
        base, channels = int(first.shape[0]), int(first.shape[1])
        if tuple(last.shape) == (channels, base, 1, 1):
            return DocumentConfig(channels, size, condition_width, base)
    return DocumentConfig(size=size, condition_width=condition_width)
