"""Files that appear whole or not at all, their hashes, and JSON from strangers.

write_whole(Path("bundle/manifest.json"), content)
sha256_of("bundle/step.fp32.onnx")
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from contract.errors import Refused

TEMPORARY = ".tmp"
"""Ending of a file that isn't whole yet; on a disk `NAME.1f0c9a3e.tmp`, another one for each writer."""

MAYBE_TEMPORARY = r"(?:(?:\.[0-9a-f]{8})?\.tmp)?"
"""What follows a name in a regular expression that matches the file, and what a writer that died left of it."""

DEEPEST = 200
"""Levels of a JSON value: far more than any file of ours has, and few enough for functions that call themselves.

Python's own parser stops elsewhere in each version."""


def sha256_of(path: str | Path) -> str:
    """sha256 of a file in hexadecimal, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def whole_file(path: Path, sync: bool = True) -> Iterator[IO[bytes]]:
    """A file that appears whole, when the block ends, or not at all: a temporary name beside it, then a rename.

    Of several writers of one file at a time the last one's stays.
    `sync` waits for the disk, so that the file also survives a power cut right after the block.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with open(temporary, "wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            error.filename = str(
                path
            )  # a failed write doesn't say of which file, a missing folder names the temporary one
        raise


def write_whole(path: Path, content: bytes, sync: bool = True) -> None:
    """Write a file whole or not at all, as `whole_file` does."""
    with whole_file(path, sync) as file:
        file.write(content)


def final_name(name: str) -> str:
    """The name that a file has once it is whole."""
    return re.sub(MAYBE_TEMPORARY + "$", "", name, count=1)


def parse_json(content: bytes, finite: bool = True) -> Any:
    """Strict JSON: NaN and infinities (where it is to be `finite`), repeated keys and bottomless nesting raise
    ValueError."""
    try:
        constant = _no_constant if finite else float
        found = json.loads(content.decode(), parse_constant=constant, object_pairs_hook=_no_repeats)
        if content.count(b"{") + content.count(b"[") >= DEEPEST:
            _refuse_depth(found)
        return found
    except RecursionError:
        raise ValueError("nested too deep") from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None


def read_json(path: Path, finite: bool = True) -> dict[str, Any]:
    """A JSON object from a file; Refused where it holds something else, as `parse_json`."""
    try:
        content = parse_json(path.read_bytes(), finite)
    except ValueError as error:
        raise Refused(f"{path}: {error}; expected a JSON object") from error
    if not isinstance(content, dict):
        raise Refused(f"{path}: a {type(content).__name__}; expected a JSON object")
    return content


def _refuse_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        below = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list)))
        level = list(itertools.chain.from_iterable(below))
    if level:
        raise ValueError("nested too deep")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} where a finite number was expected")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found
