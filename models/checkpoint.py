"""Checkpoints on disk: a trained network with everything that the exporter needs to know about it.

Nothing is retyped as a flag that the file already knows.

    checkpoint = read_checkpoint("ckpt.pt")           # or a file or folder of other software
    network = checkpoint.network()                    # float32, ready to sample
    write_checkpoint("copy.pt", checkpoint)

An annotator is a file by itself before a checkpoint carries it: `write_annotator`, `read_annotator`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from contract.bundle import Latent
from contract.conditions import Schema
from contract.driver_hashes import stated_once
from contract.errors import Refused, UsageError
from contract.files import write_whole
from contract.limits import Guidance, Shift, Timestep, Timesteps
from contract.record import Record, convert, short
from contract.schedule import Diffusion, trailing
from models.annotator import TrainedAnnotator
from models.checks import check_weights, validate_plain
from models.denoiser import Denoiser, NetworkConfig
from models.importers.folder import read_folder
from models.importers.given import NOTHING, Given, Imported
from models.importers.reader import load, read_foreign
from models.importers.weights import COUNTERS
from models.networks import build, configure, shapes_of
from models.safe_load import load_archive

FORMAT = "dms-edge/checkpoint@1"
ANNOTATOR_FORMAT = "dms-edge/annotator@1"
NULL_CONDITION = "null_condition"
"""Name of that weight in the state dict of every network that has one."""

KEYS = {"format", "network", "schema", "diffusion", "weights", "sampler", "annotator", "lineage"}


@dataclass(frozen=True)
class SamplerDefaults(Record):
    """How the checkpoint wants to be sampled."""

    WHAT = "sampler defaults"
    OPTIONAL = frozenset({"shift"})

    timesteps: tuple[Timestep, ...] | None = None
    """The only timesteps that a student was trained on, from noise down; None where any number of steps works."""

    steps: Timesteps = 10
    """Number of steps where none is asked for."""

    guidance: Guidance = 1.0
    """Guidance scale where none is asked for; 1 is none, and all there is without a null condition."""

    shift: Shift = 1.0
    """How far timesteps are shifted towards noise where none are given (`contract.schedule.trailing`)."""

    def __post_init__(self) -> None:
        falling = self.timesteps is None or sorted(set(self.timesteps), reverse=True) == list(self.timesteps)
        if not falling or (self.timesteps is not None and len(self.timesteps) != self.steps):
            raise ValueError(f"timesteps; expected {self.steps} falling whole numbers")

    def check_fits(self, diffusion: Diffusion, guided: bool) -> None:
        """Refused where the network can't be sampled like that."""
        highest = max(self.timesteps or (0,))
        if not max(self.steps, highest + 1) <= diffusion.timesteps:
            raise Refused(
                f"{self.WHAT}: {self.steps} steps, timesteps up to {highest}; the network has {diffusion.timesteps}"
            )
        if self.guidance != 1.0 and not guided:
            raise Refused(f"{self.WHAT}: guidance {self.guidance:g}, but the network has no null condition; expected 1")


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

    imported: Imported | None = None
    """Of a checkpoint of other software: how its network is built and sampled, and what was assumed."""

    @property
    def guided(self) -> bool:
        """Whether the network has a null condition, so that guidance other than 1 is possible."""
        return NULL_CONDITION in self.weights

    @property
    def assumed(self) -> Mapping[str, str]:
        """What a checkpoint of other software doesn't say, and was given or taken by default."""
        return self.imported.assumed if self.imported else {}

    @property
    def latent(self) -> Latent | None:
        """What the network works on, where that isn't the image itself."""
        return self.imported.decoder.latent if self.imported and self.imported.decoder else None

    def timesteps(self, steps: int | None = None, shift: float | None = None) -> tuple[int, ...]:
        """Where the project's DDIM steps, from noise down: a student's own timesteps, else `steps` of all of them.

        None takes the checkpoint's default. UsageError as `contract.schedule.trailing`.
        """
        own = self.sampler
        if own.timesteps is not None:
            return own.timesteps
        count, moved = own.steps if steps is None else steps, own.shift if shift is None else shift
        return tuple(trailing(self.diffusion.timesteps, count, moved).tolist())

    def decoder(self) -> nn.Module | None:
        """What makes images [B, C, H, W] of a latent model's last x, in eval mode; None where x is the image."""
        return self.imported.decoder.build() if self.imported and self.imported.decoder else None

    def network(self) -> Denoiser:
        """The network with the stored weights as float32, in eval mode, without gradients."""
        network = self.imported.build() if self.imported else build(self.config)
        counters = {name: count for name, count in network.state_dict().items() if name.endswith(COUNTERS)}
        network.load_state_dict(counters | {name: weight.float() for name, weight in self.weights.items()})
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
            "lineage": stated_once(self.lineage),
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any], sha256: str = "") -> Checkpoint:
        """Check everything that a checkpoint says; anything odd raises Refused."""
        _check_format(data)
        data = validate_plain(data)
        config, schema = configure(data["network"]), Schema.from_dict(data["schema"])
        if config.condition_width != schema.width:
            raise Refused(
                f"network for conditions of width {config.condition_width}, but the schema"
                f" {schema.name!r} has width {schema.width}; give the schema that the network was trained with"
            )
        diffusion = Diffusion.from_dict(data["diffusion"])
        check_weights(config.arch, shapes_of(config), data["weights"])
        sampler = SamplerDefaults.from_dict(data["sampler"])
        sampler.check_fits(diffusion, NULL_CONDITION in data["weights"])
        annotator = None if data["annotator"] is None else TrainedAnnotator.from_dict(data["annotator"], schema)
        if annotator and annotator.config.image != config.image:
            raise Refused(
                f"annotator for frames {list(annotator.config.image)}, the network draws {list(config.image)};"
                " train one with python -m training.train_annotator"
            )
        lineage = convert(data["lineage"], dict[str, Any], "lineage")
        return Checkpoint(config, schema, diffusion, dict(data["weights"]), sampler, annotator, lineage, sha256)


def read_checkpoint(path: str | Path, given: Given = NOTHING) -> Checkpoint:
    """Read a checkpoint of this project, or one of other software together with what it doesn't say about itself.

    Refused for a file that is missing, damaged, holds code, or whose weights don't fit its network;
    UsageError where other software's lacks a flag, or a flag contradicts what the file says.
    """
    try:
        if Path(path).is_dir():
            return _of_other_software(*read_folder(Path(path), given))
        content, sha256 = load(path)
        if not is_own(content):
            return _of_other_software(read_foreign(content, given), sha256)
        checkpoint = Checkpoint.from_dict(content, sha256)
        _agree(checkpoint, given)
        return checkpoint
    except (Refused, UsageError) as error:
        raise type(error)(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def is_own(content: object) -> bool:
    """Whether a file says that this project wrote it, rightly or not."""
    if not isinstance(content, Mapping) or "format" not in content:
        return False
    return "weights" in content or str(content["format"]).startswith(FORMAT.partition("/")[0] + "/")


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> str:
    """Write a checkpoint whole or not at all and return its sha256; Refused for what couldn't be read again."""
    content = checkpoint.to_dict()
    Checkpoint.from_dict(content)
    return _write(path, content)


def write_annotator(path: str | Path, annotator: TrainedAnnotator, schema: Schema) -> None:
    """Write an annotator by itself, whole or not at all."""
    _write(path, {"format": ANNOTATOR_FORMAT, "schema": schema.to_dict(), "annotator": annotator.to_dict()})


def is_annotator(path: str | Path) -> bool:
    """Whether a file says that it is what `write_annotator` wrote."""
    try:
        content, _ = load_archive(path)
    except Refused:
        return False
    return isinstance(content, dict) and content.get("format") == ANNOTATOR_FORMAT


def read_annotator(path: str | Path) -> tuple[TrainedAnnotator, Schema, str]:
    """What `write_annotator` wrote, its schema and its sha256; Refused for anything else."""
    content, sha256 = load_archive(path)
    if not isinstance(content, dict) or set(content) != {"format", "schema", "annotator"}:
        raise Refused(f"{path}: no annotator; train one with python -m training.train_annotator")
    if content["format"] != ANNOTATOR_FORMAT:
        raise Refused(f"{path}: format {short(content['format'])}, this software reads {ANNOTATOR_FORMAT}")
    content = validate_plain(content)
    schema = Schema.from_dict(content["schema"])
    return TrainedAnnotator.from_dict(content["annotator"], schema), schema, sha256


def _write(path: str | Path, content: dict[str, Any]) -> str:
    buffer = io.BytesIO()  # a file object, since torch.save would put the file's name into its bytes
    torch.save(content, buffer)
    write_whole(Path(path), buffer.getvalue())
    return hashlib.sha256(buffer.getbuffer()).hexdigest()


def _check_format(data: Mapping[str, Any]) -> None:
    found = data.get("format")
    if found != FORMAT:
        newer = isinstance(found, str) and found.startswith(FORMAT.partition("@")[0] + "@")
        fix = "update the software" if newer else "expected one that python -m training.train wrote"
        raise Refused(f"checkpoint format {short(found)}, this software reads {FORMAT}; {fix}")
    if set(data) != KEYS:
        names = ", ".join(sorted(str(key)[:40] for key in set(data) ^ KEYS)[:3])
        raise Refused(f"checkpoint with missing or unexpected entries ({names}); expected {', '.join(sorted(KEYS))}")


def _of_other_software(imported: Imported, sha256: str) -> Checkpoint:
    """Its weights are compared with the shapes of the network before any of it is allocated."""
    check_weights(imported.kind, imported.shapes(), imported.weights)
    about = (imported.config, imported.schema, imported.diffusion, imported.weights)
    return Checkpoint(*about, sha256=sha256, imported=imported)


def _agree(checkpoint: Checkpoint, given: Given) -> None:
    """UsageError for flags that contradict the project's own checkpoint, or that it leaves no choice of."""
    known = {
        "--arch": checkpoint.config.arch,
        "--schema": checkpoint.schema.name,
        "--image-size": checkpoint.config.size,
        "--beta-schedule": checkpoint.diffusion.schedule,
        "--timesteps": checkpoint.diffusion.timesteps,
        "--prediction": checkpoint.diffusion.prediction,
    }
    for flag, value in given.flags().items():
        found = given.size() if flag == "--image-size" else value
        if flag not in known:
            raise UsageError(f"{flag} {value}: for checkpoints of other software; leave {flag} out")
        if found != known[flag]:
            raise UsageError(f"{flag} {value} contradicts the checkpoint, which has {known[flag]}; leave {flag} out")
