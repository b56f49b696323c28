"""The manifest of a bundle: what the exporter promises and the runtime holds every file against.

    manifest = read_manifest("bundle")                            # Refused on anything odd
    onnx = open_checked("bundle", manifest, "step.fp32.onnx")     # bytes, hashed against the manifest

`manifest.json` stands beside plain files; `digest` is the sha256 over its canonical JSON without that key, so
that any change of meaning is refused, while changed whitespace is harmless.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from contract.conditions import Schema
from contract.errors import Refused
from contract.files import parse_json, write_whole
from contract.frames import ImageShape
from contract.limits import MAX_MANIFEST_BYTES, MAX_STEPS, AlphaBar, Channels, Guidance, Side, Timestep
from contract.record import Record, convert, one_of, short, text
from contract.schedule import Float64, Prediction, check_rising, step_coefficients

VERSION = "0.1.0"
"""Version of the software, written into bundles and datasets."""

FORMAT = "dms-edge/bundle@1"
MANIFEST = "manifest.json"
FIX = "export the bundle again: python -m export CHECKPOINT.pt -o {folder}"

ANNOTATORS = {"fp32": "annotator.onnx", "int8": "annotator.int8.onnx"}
"""File of each precision of the annotator, where a bundle has one."""

RESERVED = frozenset({"file_name", "index", "seed", "synthetic", "origin", "image", "clip"}) | frozenset(
    {"measured", "agrees", "landmarks", "attempt", "tries"}
)
"""Keys of a dataset record that no condition field may be named after."""

Sha256 = Annotated[str, text(r"[0-9a-f]{64}", "64 hexadecimal digits")]
FileName = Annotated[str, text(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}", "a plain file name without folders")]


@dataclass(frozen=True)
class Sampler(Record):
    """The few-step sampler that is baked into the step graph: deterministic DDIM."""

    WHAT = "sampler"
    OPTIONAL = frozenset({"clip", "clip_range", "rederive", "final_alpha_bar", "next_alpha_bar"})

    timesteps: Annotated[tuple[Timestep, ...], Meta(min_length=1, max_length=MAX_STEPS)]
    """The K timesteps in the order in which they are run."""

    alpha_bar: tuple[AlphaBar, ...]
    """alpha-bar at each of them, from 0 (pure noise) to 1, rising."""

    prediction: Prediction
    """What the network predicts: `epsilon`, `v` or `x0`."""

    guidance: Guidance = 1.0
    """Guidance scale that the graph applies; 1.0 is none."""

    clip: bool = True
    """Whether the predicted image is clamped at each step."""

    kind: Annotated[str, one_of("ddim")] = "ddim"

    clip_range: Annotated[float, Meta(gt=0.0, le=100.0)] = 1.0
    """With `clip`, the predicted image is clamped to [-clip_range, clip_range]."""

    rederive: bool = True
    """Whether the noise is re-derived from the clamped image before the update, or stays as it was predicted."""

    final_alpha_bar: AlphaBar = 1.0
    """alpha-bar after the last step: 1 ends in the predicted image; a foreign scheduler may end just below."""

    next_alpha_bar: tuple[AlphaBar, ...] = ()
    """alpha-bar that each step leads to, where a foreign scheduler's next step starts from another; else empty."""

    def __post_init__(self) -> None:
        if len(self.timesteps) != len(self.alpha_bar) or len(self.next_alpha_bar) not in (0, len(self.timesteps)):
            raise ValueError(f"{len(self.timesteps)} timesteps and {len(self.alpha_bar)} alpha_bar, expected as many")

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    def coefficients(self) -> Float64:
        """`contract.schedule.step_coefficients` of the steps, float64 [K, 5]; UsageError where they can't be run."""
        now = np.asarray(self.alpha_bar, dtype=np.float64)
        if not self.next_alpha_bar and self.final_alpha_bar == 1.0:
            check_rising(now)
        following = np.asarray(self.next_alpha_bar or (*self.alpha_bar[1:], self.final_alpha_bar), dtype=np.float64)
        return step_coefficients(now, following, self.prediction, self.rederive)


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle; `extra` holds what only its kind has (flavor, tensorrt, target, batch, for ...)."""

    sha256: Sha256
    precision: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"sha256": self.sha256, "precision": self.precision, **self.extra}

    @staticmethod
    def of_file(name: str, data: Mapping[str, Any]) -> FileEntry:
        """The entry of a manifest's `files`; Refused where it has no hash."""
        own = {key: data[key] for key in ("sha256", "precision") if key in data}
        extra = {key: value for key, value in data.items() if key not in own}
        return convert(own | {"extra": extra}, FileEntry, name)


@dataclass(frozen=True)
class Latent(Record):
    """What the steps of a latent model work on; `decoder.<precision>.onnx` makes frames of it."""

    WHAT = "latent"
    OPTIONAL = frozenset({"scale"})

    channels: Channels
    height: Side
    width: Side

    scale: Annotated[float, Meta(gt=0.0, le=1000.0)] = 1.0
    """What latents were multiplied by for training; the decoder divides by it."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width


class _Image(Struct, forbid_unknown_fields=True):
    channels: Channels
    height: Side
    width: Side


class _Source(Struct, forbid_unknown_fields=True):
    checkpoint: str = ""
    lineage: dict[str, Any] | None = None
    assumed: dict[str, Any] = {}


class _Stored(Struct, forbid_unknown_fields=True):
    """`manifest.json` on disk; the values of schema, sampler, latent and files are checked as records."""

    format: str
    image: _Image
    schema: dict[str, Any]
    sampler: dict[str, Any]
    files: dict[FileName, dict[str, Any]]
    parity: dict[str, dict[str, Any]]
    source: _Source
    latent: dict[str, Any] | None = None
    digest: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds and how its frames come about."""

    image: ImageShape
    schema: Schema
    sampler: Sampler
    files: Mapping[str, FileEntry]
    """Plain file name -> entry, for every file of the bundle but the manifest."""

    parity: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """File name -> metric, tolerance, measured, conditions (and `emulated` or `verified` where they apply)."""

    source: Mapping[str, Any] = field(default_factory=dict)
    """`checkpoint`: sha256 of the checkpoint; `lineage`: what the checkpoint says of its training; `assumed`: what a
    foreign checkpoint doesn't say, and was given or taken by default."""

    latent: Latent | None = None
    """Where the steps work on latents; None where x is the image itself."""

    def decoder_of(self, file: str) -> str:
        """Name of the decoder that a step graph of a latent model goes with."""
        return f"decoder.{self.files[file].precision}.onnx"

    @property
    def x_shape(self) -> tuple[int, int, int]:
        """Shape [C, H, W] of the x that a step takes and gives."""
        return self.latent.shape if self.latent else self.image

    def to_dict(self) -> dict[str, Any]:
        """The manifest as JSON values, without its digest."""
        return {
            "format": FORMAT,
            "image": self.image._asdict(),
            "schema": self.schema.to_dict(),
            "sampler": self.sampler.to_dict(),
            "files": {name: entry.to_dict() for name, entry in self.files.items()},
            "parity": {name: dict(entry) for name, entry in self.parity.items()},
            "source": dict(self.source),
        } | ({"latent": self.latent.to_dict()} if self.latent else {})

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON: the hash of the whole bundle, since every file's hash is in it."""
        return digest_of(self.to_dict())

    def frames_digest(self, file: str, annotator: str | None = None) -> str:
        """sha256 over what decides the frames that `file` draws: its content, image, schema and sampler.

        Where an annotator reads them, its file counts as well: it decides what records say and what is rejected.
        Exporting again, or adding an engine, leaves it as it is, so that a dataset can go on.
        """
        whole = self.to_dict()
        decisive = {key: whole[key] for key in ("image", "schema", "sampler")}
        files = {"file": file} | ({"annotator": annotator} if annotator else {})
        files |= {"decoder": self.decoder_of(file)} if self.latent else {}
        return digest_of(decisive | {key: self.files[name].sha256 for key, name in files.items()})

    @staticmethod
    def from_dict(data: object) -> Manifest:
        """Read a manifest; Refused, without the name of its file, for anything unexpected."""
        manifest = convert(data, dict[str, Any], "manifest")
        _check_format(manifest.get("format"))
        stored = convert(manifest, _Stored, "manifest")
        if stored.digest and stored.digest != digest_of(manifest):
            raise Refused("its digest doesn't fit its content, so it was edited or damaged")
        schema = Schema.from_dict(stored.schema)
        if taken := sorted(RESERVED & set(schema.names)):
            raise Refused(f"schema with a field named {taken[0]!r}, which every record has for itself")
        if MANIFEST in stored.files:
            raise Refused(f"{MANIFEST} among the files, expected those that it describes")
        if unknown := sorted(set(stored.parity) - set(stored.files)):
            raise Refused(f"parity of {unknown[0]!r}, which isn't among the files")
        return Manifest(
            image=ImageShape(stored.image.channels, stored.image.height, stored.image.width),
            schema=schema,
            sampler=Sampler.from_dict(stored.sampler),
            files={name: FileEntry.of_file(name, entry) for name, entry in stored.files.items()},
            parity=stored.parity,
            source=manifest["source"],
            latent=Latent.from_dict(stored.latent) if stored.latent else None,
        )


def read_manifest(folder: str | Path) -> Manifest:
    """Read and check `folder/manifest.json`; Refused names what is odd and the command that fixes it."""
    path = Path(folder) / MANIFEST
    if Path(folder).is_file():
        raise Refused(f"{folder}: a file, no bundle; export a checkpoint: python -m export {folder} -o bundle")
    try:
        if not path.is_file():
            raise ValueError("no such file" if Path(folder).is_dir() else "no such bundle")
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError(f"larger than {MAX_MANIFEST_BYTES} bytes")
        return Manifest.from_dict(parse_json(path.read_bytes()))
    except ValueError as error:
        raise Refused(f"{path}: {error}; {FIX.format(folder=folder)}") from error


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write `folder/manifest.json` whole or not at all, with its digest; the last act of an export."""
    data = manifest.to_dict()
    text = json.dumps(data | {"digest": digest_of(data)}, indent=1, allow_nan=False)
    write_whole(Path(folder) / MANIFEST, text.encode() + b"\n")


def open_checked(folder: str | Path, manifest: Manifest, name: str) -> bytes:
    """The content of one file of the bundle, hashed; Refused where it is missing or altered."""
    path, fix = Path(folder) / name, FIX.format(folder=folder)
    if name not in manifest.files:
        raise Refused(f"{path}: not in the manifest, which has {', '.join(manifest.files) or 'no files'}; {fix}")
    if not path.is_file():
        raise Refused(f"{path}: missing, though the manifest names it; {fix}")
    content = path.read_bytes()
    found, expected = hashlib.sha256(content).hexdigest(), manifest.files[name].sha256
    if found != expected:
        raise Refused(f"{path}: sha256 is {found[:12]}, expected {expected[:12]} by the manifest; {fix}")
    return content


def digest_of(data: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of `data` without its key `digest`."""
    content = {key: value for key, value in data.items() if key != "digest"}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _check_format(found: object) -> None:
    name, _, version = FORMAT.partition("@")
    if found == FORMAT:
        return
    newer = re.fullmatch(re.escape(name) + r"@([0-9]{1,9})", found) if isinstance(found, str) else None
    if newer and int(newer[1]) > int(version):
        raise Refused(f"format {found} is newer than the {FORMAT} that this software reads; update the software, or")
    raise Refused(f"format {short(found)}, expected {FORMAT}")
