"""Malformed variants of every miniature are refused by the name of a file, or are still data that make sense.

Seeded variants are made until 30 of a miniature were refused: 300 malformed data sets in all.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.errors import Refused
from contract.schemas import CABIN
from sources.public.layouts import LAYOUTS
from sources.public.record import read_layout
from tests.sources.public.miniatures import MINIATURES

REFUSALS, MOST = 30, 200
"""Of each miniature: variants that have to be refused, and variants that may be made for it."""
LITTER = re.compile(r"__MACOSX|readme\.txt|Thumbs\.db|(^|/)\.")
TEXTS = {".csv", ".json", ".txt"}
JUNK = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"{}",
    b"[]",
    b"null",
    b"9" * 5000,
    b'"',
    b",",
    b"\n",
    b"-1",
    b"1e999",
    b"NaN",
    b"[" * 3000,
)
NAMES = ("x", "0001", "..", "-", "s0001_", "Tester", "Fold1", "\u202e", "a" * 200, "1-Male", "c0", "%s", "{}")


def parts(folder: Path) -> list[Path]:
    """Every file and folder of a data set, in order, without what only lies beside it."""
    return [path for path in sorted(folder.rglob("*")) if not LITTER.search(str(path.relative_to(folder)))]


def files_in(folder: Path) -> list[Path]:
    """Every file of it."""
    return [path for path in parts(folder) if path.is_file()]


def text(random_: random.Random, folder: Path) -> Path | None:
    """A file of annotations that says something else."""
    files = [path for path in files_in(folder) if path.suffix in TEXTS]
    if not files:
        return None
    path = random_.choice(files)
    content = path.read_bytes()
    start = random_.randrange(len(content) + 1)
    end = random_.choice((start, start + 1, start + random_.randrange(1, 40), len(content)))
    path.write_bytes(content[:start] + random_.choice(JUNK) + content[end:])
    return path


def name(random_: random.Random, folder: Path) -> Path:
    """A file or, now and then, a folder that is called something else."""
    path = random_.choice(parts(folder) if random_.random() < 0.2 else files_in(folder))
    stem, piece = path.stem, random_.choice(NAMES)
    at = random_.randrange(len(stem) + 1)
    wanted = random_.choice((piece, stem[:at] + piece + stem[at:], stem[:at] + stem[at + 1 :], stem.upper()))
    other = path.with_name((wanted.strip(".") or "y")[:200] + path.suffix)
    if not other.exists():
        path.rename(other)
    return other


def absence(random_: random.Random, folder: Path) -> Path:
    """A file that isn't there, or a folder in its place."""
    path = random_.choice(files_in(folder))
    path.unlink()
    if random_.random() < 0.3:
        path.mkdir()
    return path


def place(random_: random.Random, folder: Path) -> Path:
    """A file that lies in another folder."""
    files = files_in(folder)
    path, other = random_.choice(files), random_.choice(files).parent
    if not (other / path.name).exists():
        path.rename(other / path.name)
    return other / path.name


CHANGES: tuple[Callable[[random.Random, Path], Path | None], ...] = (text, text, name, name, name, absence, place)


@pytest.mark.parametrize("of", MINIATURES)
def test_malformed_variants_are_refused_by_name(of: str, tmp_path: Path) -> None:
    layout, maker = MINIATURES[of]
    refused = 0
    for number in range(MOST):
        random_, folder = random.Random(f"{of}-{number}"), tmp_path / str(number)
        folder.mkdir()
        maker(folder)
        changed = None
        while changed is None:
            changed = random_.choice(CHANGES)(random_, folder)
        try:
            samples = read_layout(folder, LAYOUTS[layout], CABIN)
        except Refused as error:
            refused += 1
            assert str(folder) in str(error), "names what is wrong"
            assert "\n" not in str(error) and len(str(error)) < 1500
        else:
            assert samples and all(sample.driver and sample.file.exists() for sample in samples)
            assert all(0 <= s.span[0] < s.span[1] for s in samples if s.span)
            assert all(CABIN.check(sample.labels) == sample.labels for sample in samples)
        if refused == REFUSALS:
            return
    pytest.fail(f"{refused} of {MOST} variants were refused; expected {REFUSALS}")
