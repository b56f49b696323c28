"""What the classifiers look at: a few frames of every class, real ones beside added ones, at the classifiers' size.

write_examples(folder / "examples.png", pools)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audit.utility.arms import Pools
from audit.utility.inputs import LabelledSet
from audit.utility.plan import SPLIT_TOPIC
from audit.utility.selection import Rows
from contract.noise import stream
from pictures.image_grid import Frame, draw_page, write_image

EACH = 4
"""Frames of a class from each set."""


def write_examples(path: Path, pools: Pools) -> None:
    """Draw classes down, sets across; a class that a set lacks is left grey. Real frames are those trained on."""
    sets = [(pools.real, pools.splits.training)]
    sets += [(found, np.arange(len(found.frames.frames))) for found in (pools.synthetic, pools.private) if found]
    titles = [found.name for found, _ in sets for _ in range(EACH)]
    classes = [(task, value) for task in pools.plan.tasks for value in pools.real.frames.schema.field(task).values]
    tiles = [[frame for found, rows in sets for frame in _some(found, rows, *entry)] for entry in classes]
    write_image(path, draw_page(titles, [[task, value] for task, value in classes], tiles))


def _some(found: LabelledSet, rows: Rows, task: str, value: str) -> list[Frame]:
    """EACH frames that show the class, the same ones every time."""
    place = found.frames.schema.field(task).values.index(value)
    shown = rows[found.classes(task)[rows] == place]
    chosen = stream(0, place, SPLIT_TOPIC).permutation(shown)[:EACH]
    blank = np.full(found.frames.frames.shape[1:], 128, np.uint8)
    return [*found.frames.frames[chosen], *[blank] * (EACH - len(chosen))]
