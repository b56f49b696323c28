"""The manifest of a bundle: what the exporter promises and the runtime holds every file against.

    manifest = read_manifest("bundle")                            # Refused on anything odd
    onnx = open_checked("bundle", manifest, "step.fp32.onnx")     # bytes, hashed against the manifest

`manifest.json` lies beside plain files; `digest` is the sha256 over its canonical JSON without that key, so
that any change of meaning is refused, while changed whitespace is harmless.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contract.conditions import Schema
from contract.errors import Refused
from contract.files import parse_json, write_whole
from contract.frames import ImageShape
from contract.guidance import MAX_GUIDANCE

VERSION = "0.1.0"
"""Version of the software, written into bundles and datasets."""

FORMAT = "dms-edge/bundle@1"
MANIFEST = "manifest.json"
FIX = "export the bundle again: python -m export CHECKPOINT.pt -o {folder}"

MAX_SIDE = 4096
MAX_CHANNELS = 16
MAX_STEPS = 10_000
MAX_MANIFEST_BYTES = 16 << 20
"""Beyond these a manifest is a mistake or an attack: 10 000 steps with their alpha_bar are under 1 MB."""

ANNOTATORS = {"fp32": "annotator.onnx", "int8": "annotator.int8.onnx"}
"""File of each precision of the annotator, where a bundle has one."""

PREDICTIONS = ("epsilon", "v", "x0")
RESERVED = frozenset({"file_name", "index", "seed", "synthetic", "measured", "agrees", "attempt", "tries"})
"""Keys of a dataset record that no condition field may be named after."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")


@dataclass(frozen=True)
class Sampler:
    """The few-step sampler that is baked into the step graph."""

    timesteps: tuple[int, ...]
    """The K timesteps in the order in which they are run."""

    alpha_bar: tuple[float, ...]
    """alpha-bar at each of them, from 0 (pure noise) to 1, rising."""

    prediction: str
    """What the network predicts: `epsilon`, `v` or `x0`."""

    guidance: float = 1.0
    """Guidance scale that the graph applies; 1.0 is none."""

    clip: bool = True
    """Whether the predicted image is clamped to [-1, 1] at each step."""

    kind: str = "ddim"

    @property
    def steps(self) -> int:
        return len(self.timesteps)

    def to_dict(self) -> dict[str, Any]:
        sampler = {"kind": self.kind, "timesteps": list(self.timesteps), "alpha_bar": list(self.alpha_bar)}
        return sampler | {"prediction": self.prediction, "guidance": self.guidance, "clip": self.clip}


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle; `extra` holds what only its kind has (flavor, tensorrt, target, batch, for ...)."""

    sha256: str
    precision: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"sha256": self.sha256, "precision": self.precision, **self.extra}


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
    """`checkpoint`: sha256 of the checkpoint; `lineage`: what the checkpoint says of its training."""

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
        }

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
        return digest_of(decisive | {key: self.files[name].sha256 for key, name in files.items()})

    @staticmethod
    def from_dict(data: object) -> Manifest:
        """Read a manifest; anything unexpected raises ValueError with what was found and expected."""
        manifest = _object(data, "manifest")
        _check_format(manifest.get("format"))
        _keys(manifest, {"format", "image", "schema", "sampler", "files", "parity", "source"}, {"digest"}, "manifest")
        if manifest.get("digest", "") and manifest["digest"] != digest_of(manifest):
            raise ValueError("its digest doesn't fit its content, so it was edited or damaged")
        schema = Schema.from_dict(manifest["schema"])
        if taken := sorted(RESERVED & set(schema.names)):
            raise ValueError(f"schema with a field named {taken[0]!r}, which every record has for itself")
        files = {_plain(name): _entry(name, entry) for name, entry in _object(manifest["files"], "files").items()}
        parity = {name: _object(entry, "parity") for name, entry in _object(manifest["parity"], "parity").items()}
        if unknown := sorted(set(parity) - set(files)):
            raise ValueError(f"parity of {unknown[0]!r}, which isn't among the files")
        image, sampler = _image(manifest["image"]), _sampler(manifest["sampler"])
        return Manifest(image, schema, sampler, files, parity, _source(manifest["source"]))


def read_manifest(folder: str | Path) -> Manifest:
    """Read and check `folder/manifest.json`; Refused names what is odd and the command that mends it."""
    path = Path(folder) / MANIFEST
    try:
        if not path.is_file():
            raise ValueError("no such file" if Path(folder).is_dir() else "no such bundle")
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError(f"larger than {MAX_MANIFEST_BYTES} bytes")
        return Manifest.from_dict(parse_json(path.read_bytes()))
    except (ValueError, OverflowError) as error:
        raise Refused(f"{path}: {error}; {FIX.format(folder=folder)}") from error


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write `folder/manifest.json` whole or not at all, with its digest; the last act of an export."""
    data = manifest.to_dict()
    text = json.dumps(data | {"digest": digest_of(data)}, indent=1, allow_nan=False)
    write_whole(Path(folder) / MANIFEST, text.encode() + b"\n")


def open_checked(folder: str | Path, manifest: Manifest, name: str) -> bytes:
    """The content of one file of the bundle, hashed; Refused where it is missing or altered."""
    path, mend = Path(folder) / name, FIX.format(folder=folder)
    if name not in manifest.files:
        raise Refused(f"{path}: not in the manifest, which has {', '.join(manifest.files) or 'no files'}; {mend}")
    if not path.is_file():
        raise Refused(f"{path}: missing, though the manifest names it; {mend}")
    content = path.read_bytes()
    found, expected = hashlib.sha256(content).hexdigest(), manifest.files[name].sha256
    if found != expected:
        raise Refused(f"{path}: sha256 is {found[:12]}, expected {expected[:12]} by the manifest; {mend}")
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
        raise ValueError(f"format {found} is newer than the {FORMAT} that this software reads; update the software, or")
    raise ValueError(f"format {_short(found)}, expected {FORMAT}")


def _image(data: Any) -> ImageShape:
    _keys(_object(data, "image"), {"channels", "height", "width"}, set(), "image")
    channels = _integer(data["channels"], "image channels", 1, MAX_CHANNELS)
    return ImageShape(channels, *(_integer(data[side], f"image {side}", 1, MAX_SIDE) for side in ("height", "width")))


def _sampler(data: Any) -> Sampler:
    required = {"kind", "timesteps", "alpha_bar", "prediction", "guidance"}
    _keys(_object(data, "sampler"), required, {"clip"}, "sampler")
    if data["kind"] != "ddim":
        raise ValueError(f"sampler kind {_short(data['kind'])}, expected ddim")
    if data["prediction"] not in PREDICTIONS:
        raise ValueError(f"sampler prediction {_short(data['prediction'])}, expected one of {', '.join(PREDICTIONS)}")
    clip = data.get("clip", True)
    if not isinstance(clip, bool):
        raise ValueError(f"sampler clip {_short(clip)}, expected true or false")
    timesteps, alpha_bar = _list(data["timesteps"], "timesteps"), _list(data["alpha_bar"], "alpha_bar")
    if not 1 <= len(timesteps) == len(alpha_bar) <= MAX_STEPS:
        raise ValueError(
            f"{len(timesteps)} timesteps and {len(alpha_bar)} alpha_bar, expected as many, 1 to {MAX_STEPS}"
        )
    return Sampler(
        tuple(_integer(t, "timestep", 0, 1_000_000) for t in timesteps),
        tuple(_number(a, "alpha_bar", 0.0, 1.0) for a in alpha_bar),
        data["prediction"],
        _number(data["guidance"], "guidance", 0.0, MAX_GUIDANCE),
        clip,
    )


def _entry(name: str, data: Any) -> FileEntry:
    entry = dict(_object(data, f"files[{_short(name)}]"))
    sha256, precision = entry.pop("sha256", None), entry.pop("precision", None)
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError(f"{name}: sha256 {_short(sha256)}, expected 64 hexadecimal digits")
    if not isinstance(precision, (str, type(None))):
        raise ValueError(f"{name}: precision {_short(precision)}, expected a name or null")
    return FileEntry(sha256, precision, entry)


def _source(data: Any) -> dict[str, Any]:
    source = _object(data, "source")
    if not isinstance(source.get("checkpoint", ""), str) or not isinstance(source.get("lineage") or {}, dict):
        raise ValueError("source without a checkpoint hash and a lineage object")
    return source


def _plain(name: str) -> str:
    if not _PLAIN_NAME.fullmatch(name) or name == MANIFEST:
        raise ValueError(f"file name {_short(name)}, expected a plain name without folders")
    return name


def _object(data: Any, what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{what} is {_short(data)}, expected an object")
    return data


def _list(data: Any, what: str) -> list[Any]:
    if not isinstance(data, list):
        raise ValueError(f"{what} is {_short(data)}, expected a list")
    return data


def _keys(data: Mapping[str, Any], required: set[str], optional: set[str], what: str) -> None:
    if missing := sorted(required - set(data)):
        raise ValueError(f"{what} without {', '.join(missing)}")
    if unknown := sorted(set(data) - required - optional):
        raise ValueError(f"{what} with an unknown key {_short(unknown[0])}")


def _integer(data: Any, what: str, low: int, high: int) -> int:
    if type(data) is not int or not low <= data <= high:
        raise ValueError(f"{what} {_short(data)}, expected an integer from {low} to {high}")
    return data


def _number(data: Any, what: str, low: float, high: float) -> float:
    if type(data) not in (int, float) or not math.isfinite(data) or not low <= data <= high:
        raise ValueError(f"{what} {_short(data)}, expected a number from {low:g} to {high:g}")
    return float(data)


def _short(data: object) -> str:
    text = repr(data)
    return text if len(text) <= 60 else text[:57] + "..."
