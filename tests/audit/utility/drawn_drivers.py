"""Frames of 16 x 16 pixels that show fatigue, distraction and light, each driver on a ground of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contract.field import Condition
from contract.noise import open_fields, stream
from contract.schemas import CABIN
from sources.base import Landmarks
from sources.shards import ShardDescription, ShardWriter

SIZE = 16
DRIVER_TOPIC, PIXEL_TOPIC = 90, 91
PERSONAL = [field.name for field in CABIN.fields if field.personal]


def draw(condition: Condition, ground: np.ndarray, noise: np.ndarray, shift: float) -> np.ndarray:
    """One frame [16, 16, 3]: fatigue is how much of the upper bar is dark, distraction how wide the lower block is."""
    level = {"day": 1.0, "night": 0.4, "tunnel": 0.6, "backlight": 0.8}[str(condition["lighting"])]
    frame = 90.0 + 20.0 * ground
    fatigue = CABIN.field("fatigue_level").values.index(str(condition["fatigue_level"]))
    distraction = CABIN.field("distraction_type").values.index(str(condition["distraction_type"]))
    frame[2:6, 2:14] = 200.0
    frame[2:6, 2 : 2 + 4 * fatigue] = 30.0
    frame[9:14, 7 - distraction : 9 + distraction] = 230.0
    return np.asarray((level * frame + shift + 12.0 * noise).clip(0, 255).astype(np.uint8))


def write_drivers(
    folder: Path,
    count: int,
    drivers: int = 40,
    seed: int = 0,
    shift: float = 0.0,
    origin: Mapping[str, Any] | None = None,
) -> Path:
    """A folder of shards; `shift` is added to every pixel, as another camera would."""
    frames, conditions, subjects = [], [], []
    for index in range(count):
        random = stream(seed, index, PIXEL_TOPIC)
        driver = int(random.integers(drivers))
        born = CABIN.complete({}, open_fields(seed + 1000, driver))
        condition = CABIN.complete({name: born[name] for name in PERSONAL}, open_fields(seed, index))
        ground = stream(seed + 1000, driver, DRIVER_TOPIC).standard_normal((1, 1, 3)) + np.zeros((SIZE, SIZE, 1))
        frames.append(draw(condition, ground, random.standard_normal((SIZE, SIZE, 3)), shift))
        conditions.append(condition)
        subjects.append(driver)
    hidden = np.array([[name in CABIN.hidden(condition) for name in CABIN.names] for condition in conditions])
    arrays = {
        "frames": np.stack(frames),
        "conditions": CABIN.encode(conditions),
        "points": np.zeros((count, 0, 2), np.float32),
        "hidden": hidden,
        "subjects": np.array(subjects, np.int64),
    }
    about = origin or {"renderer": "drawn", "domain": {"name": "pseudo-real"}}
    ShardWriter(folder, ShardDescription(CABIN, Landmarks(), count, about)).write(0, arrays)
    return folder
