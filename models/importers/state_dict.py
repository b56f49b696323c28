"""Bare state dicts of the source document's network: weights without a word about what they belong to.

imported = read_document(torch.load("doc.pt"), Given("document", "document", 64))
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from contract.errors import Refused, UsageError
from contract.schedule import Diffusion
from models.document import Document, DocumentConfig
from models.importers.find_schedule import find_schedule, own_steps
from models.importers.given import Given, Imported
from models.importers.weights import find_weights, plain_settings

KNOWN = ("unet.down1.conv.0.weight", "unet.out.weight", "unet.mid.conv.0.weight", "unet.middle.conv.0.weight")
TRAINED = Diffusion(1000, "cosine", "epsilon")
"""What the source document says of its training."""


def read_document(content: object, given: Given) -> Imported:
    """The document's network; UsageError where a flag is missing, Refused where there are no weights of it."""
    found, others = find_weights(content, KNOWN, given.weights)
    schema, size = given.condition_schema(), given.size()
    if schema is None or size is None:
        raise UsageError(
            f"a state dict of {len(found.weights)} tensors doesn't say its schema and image size; add them:"
            " --schema document --image-size 256"
        )
    weights = {_own_name(name): weight for name, weight in found.weights.items()}
    try:
        DocumentConfig.from_dict(DocumentConfig().to_dict() | {"size": size})
    except Refused as error:
        raise UsageError(f"--image-size {given.image_size}: {error}") from error
    config = DocumentConfig.from_dict(_shape(weights) | {"size": size, "condition_width": schema.width})
    diffusion, assumed = find_schedule(found.buffers, plain_settings(content), given, TRAINED)
    if len(others) > 1:
        assumed["weights"] = f"{found.where} of {', '.join(other.where for other in others)}"
    steps = partial(own_steps, diffusion, given)
    return Imported("document", config, schema, diffusion, weights, partial(Document, config), steps, assumed)


def _own_name(name: str) -> str:
    """The middle block's name is not fixed by the document; `middle` is what its users call it, too."""
    return name.replace("unet.middle.", "unet.mid.", 1) if name.startswith("unet.middle.") else name


def _shape(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Channels and base width from the first and last convolution where they agree, else the document's."""
    shape = DocumentConfig().to_dict()
    first, last = (weights.get(f"unet.{name}.weight") for name in ("down1.conv.0", "out"))
    if first is not None and last is not None and first.ndim == last.ndim == 4:
        base, channels = int(first.shape[0]), int(first.shape[1])
        if tuple(last.shape) == (channels, base, 1, 1):
            return shape | {"channels": channels, "base": base}
    return shape
