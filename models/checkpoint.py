"""Checkpoints on disk: a trained network with everything that the exporter needs to know about it.

Nothing is retyped as a flag that the file already knows.

    checkpoint = read_checkpoint("ckpt.pt")
    network = checkpoint.network()                    # float32, ready to sample
    write_checkpoint("copy.pt", checkpoint)
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contract.conditions import Schema
from contract.errors import Refused, UsageError
from contract.files import write_whole
from contract.guidance import MAX_GUIDANCE
from contract.schedule import Diffusion
from models.annotator import TrainedAnnotator
from models.checks import check_weights, plain
from models.denoiser import Denoiser, NetworkConfig
from models.importers.state_dict import describe
from models.networks import build, configure, shapes_of
from models.safe_load import load_archive

FORMAT = "dms-edge/checkpoint@1"
NULL_CONDITION = "null_condition"
"""Name of that weight in the state dict of every network that has one."""

KEYS = {"format", "network", "schema", "diffusion", "weights", "sampler", "annotator", "lineage"}


@dataclass(frozen=True)
class SamplerDefaults:
    """How the checkpoint wants to be sampled."""

    timesteps: tuple[int, ...] | None = None
    """The only timesteps that a student was trained on, from noise down; None where any number of steps works."""

    steps: int = 10
    """Number of steps where none is asked for."""

    guidance: float = 1.0
    """Guidance scale where none is asked for; 1 is none, and all there is without a null condition."""

    def to_dict(self) -> dict[str, Any]:
        timesteps = None if self.timesteps is None else list(self.timesteps)
        return {"timesteps": timesteps, "steps": self.steps, "guidance": self.guidance}


@dataclass(frozen=True)
class Checkpoint:
    """A network's description and weights, its condition schema, diffusion settings and history."""

    config: NetworkConfig
    schema: Schema
    diffusion: Diffusion

    weights: Mapping[str, Tensor]
    """As stored, float16 or float32; parity and hashes refer to these values."""

    sampler: SamplerDefaults = SamplerDefaults()

    annotator: TrainedAnnotator | None = None
    """The network that reads labels back from frames, where there is one."""

    lineage: Mapping[str, Any] = field(default_factory=dict)
    """Where the weights come from: data fingerprint, steps, seed, epsilon and delta or null (JSON values)."""

    sha256: str = ""
    """Of the file it was read from."""

    @property
    def guided(self) -> bool:
        """Whether the network has a null condition, so that guidance other than 1 is possible."""
        return NULL_CONDITION in self.weights

    def network(self) -> Denoiser:
        """The network with the stored weights as float32, in eval mode, without gradients."""
        network = build(self.config)
        network.load_state_dict({name: weight.float() for name, weight in self.weights.items()})
        return network.eval().requires_grad_(False)

    def to_dict(self) -> dict[str, Any]:
        """What `torch.save` writes: plain values and tensors only."""
        return {
            "format": FORMAT,
            "network": self.config.to_dict(),
            "schema": self.schema.to_dict(),
            "diffusion": self.diffusion.to_dict(),
            "weights": {name: weight.detach().cpu().contiguous().clone() for name, weight in self.weights.items()},
            "sampler": self.sampler.to_dict(),
            "annotator": None if self.annotator is None else self.annotator.to_dict(),
            "lineage": dict(self.lineage),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any], sha256: str = "") -> Checkpoint:
        """Check everything that a checkpoint says; anything odd raises Refused."""
        _check_format(data)
        config = configure(plain(data["network"], "network"))
        schema = Schema.from_dict(plain(data["schema"], "schema"))
        if config.condition_width != schema.width:
            raise Refused(
                f"network for conditions of width {config.condition_width}, but the schema"
                f" {schema.name!r} has width {schema.width}; give the schema that the network was trained with"
            )
        diffusion = Diffusion.from_dict(plain(data["diffusion"], "diffusion"))
        check_weights(config.arch, shapes_of(config), data["weights"])
        annotator = None if data["annotator"] is None else TrainedAnnotator.from_dict(data["annotator"], schema)
        if annotator and annotator.config.image != config.image:
            raise Refused(
                f"annotator for frames {list(annotator.config.image)}, the network draws {list(config.image)};"
                " train one with python -m training.train_annotator"
            )
        return Checkpoint(
            config,
            schema,
            diffusion,
            dict(data["weights"]),
            _sampler(plain(data["sampler"], "sampler"), diffusion, NULL_CONDITION in data["weights"]),
            annotator,
            _lineage(plain(data["lineage"], "lineage")),
            sha256,
        )


def read_checkpoint(
    path: str | Path,
    arch: str | None = None,
    schema: str | None = None,
    image_size: int | None = None,
) -> Checkpoint:
    """Read a checkpoint of this project, or a bare state dict together with what it doesn't say about itself.

    Refused for a file that is missing, damaged, holds code, or whose weights don't fit its network;
    UsageError where a bare state dict lacks a flag, or a flag contradicts the project's own checkpoint.
    """
    content, sha256 = load_archive(path)
    try:
        if isinstance(content, Mapping) and "format" in content:
            checkpoint = Checkpoint.from_dict(content, sha256)
            _agree(checkpoint, {"--arch": arch, "--schema": schema, "--image-size": image_size})
            return checkpoint
        described = describe(content, str(path), arch, schema, image_size)
        return Checkpoint.from_dict({"format": FORMAT} | described, sha256)
    except (Refused, UsageError) as error:
        raise type(error)(f"{path}: {error}") from error


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> str:
    """Write a checkpoint whole or not at all and return its sha256; Refused for what couldn't be read again."""
    content = checkpoint.to_dict()
    Checkpoint.from_dict(content)
    buffer = io.BytesIO()  # a file object, since torch.save would put the file's name into its bytes
    torch.save(content, buffer)
    write_whole(Path(path), buffer.getvalue())
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def _check_format(data: Mapping[str, Any]) -> None:
    found = data.get("format")
    if found != FORMAT:
        newer = isinstance(found, str) and found.startswith(FORMAT.partition("@")[0] + "@")
        mend = "update the software" if newer else "expected one that python -m training.train wrote"
        raise Refused(f"checkpoint format {str(found)[:60]!r}, this software reads {FORMAT}; {mend}")
    if set(data) != KEYS:
        names = ", ".join(sorted(str(key)[:40] for key in set(data) ^ KEYS)[:3])
        raise Refused(f"checkpoint with missing or unexpected entries ({names}); expected {', '.join(sorted(KEYS))}")


def _sampler(data: Any, diffusion: Diffusion, guided: bool) -> SamplerDefaults:
    if not isinstance(data, dict) or set(data) != {"timesteps", "steps", "guidance"}:
        raise Refused("sampler defaults: expected timesteps, steps and guidance")
    timesteps, steps, guidance = data["timesteps"], data["steps"], data["guidance"]
    if type(steps) is not int or not 1 <= steps <= diffusion.timesteps:
        raise Refused(f"sampler defaults: steps {steps!r}; expected a whole number from 1 to {diffusion.timesteps}")
    if type(guidance) not in (int, float) or not 0.0 <= guidance <= MAX_GUIDANCE:
        raise Refused(f"sampler defaults: guidance {guidance!r}; expected a number from 0 to {MAX_GUIDANCE:g}")
    if guidance != 1.0 and not guided:
        raise Refused(f"sampler defaults: guidance {guidance:g}, but the network has no null condition; expected 1")
    if timesteps is None:
        return SamplerDefaults(None, steps, float(guidance))
    whole = isinstance(timesteps, list) and all(type(t) is int and 0 <= t < diffusion.timesteps for t in timesteps)
    if not whole or len(timesteps) != steps or sorted(set(timesteps), reverse=True) != timesteps:
        raise Refused(
            f"sampler defaults: timesteps; expected {steps} falling whole numbers below {diffusion.timesteps}"
        )
    return SamplerDefaults(tuple(timesteps), steps, float(guidance))


def _lineage(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise Refused(f"lineage: a {type(data).__name__}; expected a dict")
    return data


def _agree(checkpoint: Checkpoint, flags: Mapping[str, str | int | None]) -> None:
    known = {
        "--arch": checkpoint.config.arch,
        "--schema": checkpoint.schema.name,
        "--image-size": checkpoint.config.image.height,
    }
    for flag, given in flags.items():
        if given is not None and given != known[flag]:
            raise UsageError(f"{flag} {given} contradicts the checkpoint, which has {known[flag]}; leave {flag} out")
