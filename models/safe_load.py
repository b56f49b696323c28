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

from contract.errors import Refused
from contract.limits import MAX_CHECKPOINT_BYTES

RESAVE = "python -c \"import torch; torch.save(torch.load('{path}', weights_only=True), 'new.pt')\""


def load_archive(path: str | Path) -> tuple[Any, str]:
    """The content of a .pt file and its sha256; Refused where it is damaged or holds more than data."""
    raw = _read(Path(path))
    _check_zip(path, raw)
    try:
        content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen types on damage; whatever it is, the file is refused
        if refused := re.search(r"GLOBAL (\S+)|Unsupported operand|[Tt]rying to call", str(error)):
            found = (refused[1] or "a pickle of protocol 3 or newer")[:80]
            raise Refused(
                f"{path}: holds {found!r}, which could run code; expected tensors and plain"
                " values, as torch.save(network.state_dict(), 'new.pt') writes"
            ) from error
        raise Refused(f"{path}: torch can't read it ({_first_line(error)}); save or copy the file again") from error
    return content, hashlib.sha256(raw).hexdigest()


def _read(path: Path) -> bytes:
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
        raise Refused(f"{path}: a damaged archive ({_first_line(error)}); save or copy the file again") from error
    if damaged is not None:
        raise Refused(f"{path}: {damaged!r} in it is damaged (checksum differs); save or copy the file again")


def _what_else(path: str | Path, raw: bytes) -> str:
    if raw.startswith(b"\x80"):
        return (
            "a bare pickle, which could run code and isn't read; if an old PyTorch wrote it and you trust it,"
            f" save it again: {RESAVE.format(path=path)}"
        )
    return "not a PyTorch checkpoint (no zip archive); expected a file as torch.save writes it"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
