"""Opening a .pt file that somebody else wrote: checked whole before it is loaded, and it never runs code.

torch's weights-only unpickler sees to the latter; Refused, in one line, is all that a damaged or hostile file leads to.

    content, sha256 = load_archive("ckpt.pt")          # dicts, lists, plain values and CPU tensors
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from contract.errors import Refused, Unavailable
from contract.limits import MAX_CHECKPOINT_BYTES

RESAVE = "python -c \"import torch; torch.save(torch.load('{path}', weights_only=True), 'new.pt')\""


HARMLESS = re.compile(
    r"(argparse|types)\.|collections\.|pathlib\.|numpy\.|torch\.(Size|dtype|device|[a-z0-9]+|torch_version\..*)$|_codecs\.encode$"
    r"|omegaconf\.|(pytorch_lightning|lightning|lightning_fabric|lightning_utilities)\.|__main__\.[A-Z]"
    r"|(builtins|__builtin__)\.(list|dict|set|tuple|int|float|str|bool|complex|bytearray|object|slice|range)$"
)
"""Names that training scripts leave beside the weights. Stand-ins take their place: nothing of that name is called."""


class Inert:
    """Stands in for an object beside the weights: it keeps the attributes and does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class InertDict:
    """Stands in for a kind of dict, which torch's unpickler only fills where it is a plain one."""

    def __new__(cls, *args: object, **kwargs: object) -> dict[Any, Any]:  # type: ignore[misc]
        return {}


def load_archive(path: str | Path) -> tuple[Any, str]:
    """The content of a .pt file and its sha256; Refused where it is damaged or holds more than data."""
    raw = read_bytes(Path(path))
    _check_zip(path, raw)
    try:
        with torch.serialization.safe_globals(_stand_ins(path, raw)):
            content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Refused:
        raise
    except Exception as error:  # torch raises a dozen types on damage; whatever it is, the file is refused
        if refused := re.search(r"GLOBAL (\S+)|Unsupported operand|[Tt]rying to call", str(error)):
            raise _holds_code(path, refused[1] or "a pickle of protocol 3 or newer") from error
        raise Refused(f"{path}: torch can't read it ({first_line(error)}); save or copy the file again") from error
    return content, hashlib.sha256(raw).hexdigest()


def load_tensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a .safetensors file by name, and its sha256; Refused where it is damaged."""
    try:
        from safetensors.torch import load
    except ImportError as error:
        raise Unavailable("safetensors isn't installed; run: pip install '.[import]'") from error
    raw = read_bytes(path)
    try:
        return load(raw), hashlib.sha256(raw).hexdigest()
    except Exception as error:  # its own exception, and whatever torch says of odd types and shapes
        raise Refused(f"{path}: a damaged .safetensors file ({first_line(error)}); copy it again") from error


def _stand_ins(path: str | Path, raw: bytes) -> list[Any]:
    """What torch's unpickler is to use for names that it doesn't know; Refused where one isn't harmless."""
    names = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(raw))
    for name in names:
        if not HARMLESS.match(name):
            raise _holds_code(path, name)
    return [(InertDict if name.lower().endswith("dict") else Inert, name) for name in names]


def _holds_code(path: str | Path, found: str) -> Refused:
    return Refused(
        f"{path}: holds {found[:80]!r}, which could run code; expected tensors and plain"
        " values, as torch.save(network.state_dict(), 'new.pt') writes"
    )


def read_bytes(path: Path) -> bytes:
    """The content of a checkpoint file; Refused where there is none of a sensible size."""
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise Refused(f"{path}: {what}; expected a checkpoint (.pt), as python -m training.train writes it")
    size = path.stat().st_size
    if not 0 < size <= MAX_CHECKPOINT_BYTES:
        raise Refused(f"{path}: {size} bytes; expected a checkpoint (.pt), save or copy the file again")
    return path.read_bytes()


def _check_zip(path: str | Path, raw: bytes) -> None:
    """Every member's checksum, and that none unpacks to more than is there."""
    if not raw.startswith(b"PK"):
        raise Refused(f"{path}: {_what_else(path, raw)}")
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            members = archive.infolist()
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            if packed or sum(member.file_size for member in members) > len(raw):
                raise Refused(f"{path}: holds compressed or overlapping members, which torch.save never writes")
            damaged = archive.testzip()
    except Refused:
        raise
    except Exception as error:  # zipfile raises a dozen types on damage; whatever it is, the file is refused
        raise Refused(f"{path}: a damaged archive ({first_line(error)}); save or copy the file again") from error
    if damaged is not None:
        raise Refused(f"{path}: {damaged!r} in it is damaged (checksum differs); save or copy the file again")


def _what_else(path: str | Path, raw: bytes) -> str:
    if raw.startswith(b"\x80"):
        return (
            "a bare pickle, which could run code and isn't read; if an old PyTorch wrote it and you trust it,"
            f" save it again: {RESAVE.format(path=path)}"
        )
    return "not a PyTorch checkpoint (no zip archive); expected a file as torch.save writes it"


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
