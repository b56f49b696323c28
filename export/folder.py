"""The bundle's folder: built beside its place and moved there whole, so that a failure changes nothing.

    with replacing("bundle") as part:
        ...                                  # write into part; an exception discards it

An older bundle is replaced; a folder that holds anything else is refused before any work is done.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from contract.errors import Refused

OF_A_BUNDLE = re.compile(
    r"manifest\.json(\.tmp)?|reference\.npz|verified\.json|(step|annotator)\.([\w.+-]+\.)?(onnx|engine)"
)
"""Names that a bundle is made of. Its manifest isn't asked, since a damaged bundle is mended by exporting again."""


@contextlib.contextmanager
def replacing(folder: str | Path) -> Iterator[Path]:
    """A fresh folder that takes the place of `folder` when the block ends well, and vanishes when it doesn't."""
    target = Path(folder).resolve()
    check_replaceable(target)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        yield part
        check_replaceable(target)
        _move(part, target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def check_replaceable(folder: Path) -> None:
    """Refused unless `folder` is absent, empty or holds nothing but a bundle's files."""
    if folder.is_dir():
        others = sorted(p.name for p in folder.iterdir() if p.is_dir() or not OF_A_BUNDLE.fullmatch(p.name))
        if others:
            raise Refused(f"{folder}: holds {others[0]!r}, which no bundle has; give another folder with -o")
    elif folder.exists():
        raise Refused(f"{folder}: a file; expected a folder for the bundle, give another with -o")


def _move(part: Path, target: Path) -> None:
    if not target.exists():
        os.rename(part, target)
        return
    old = part.with_suffix(".old.part")
    os.rename(target, old)
    try:
        os.rename(part, target)
    except BaseException:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)
