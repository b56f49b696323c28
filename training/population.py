"""The scenes that private evolution has come to, with their frames, kept after each vote and each rendering.

    write_population(path, population, settings)
    population = read_population(path, settings)            # None where there is none; Refused for another run's

What is kept follows from noisy votes, which aren't kept, nor their noise. Scenes are kept before they are rendered, so
that an interrupted round isn't voted on twice: the second vote would give away more than was accounted for. The
settings hold the private frames' sha256, which epsilon doesn't cover.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contract.errors import Refused
from contract.field import Condition
from contract.files import write_whole
from contract.frames import Frames


@dataclass(frozen=True)
class Scene:
    """What the renderer is asked for."""

    condition: Condition
    person: int
    moment: int


@dataclass(frozen=True)
class Population:
    """Scenes and their frames after some rounds."""

    scenes: list[Scene]
    frames: Frames
    """[N, H, W, C]; of `missing` scenes anything"""
    rounds: int
    """How many of them have been voted on."""
    missing: tuple[int, ...] = ()
    """Places of the scenes that aren't rendered yet."""


def write_population(path: Path, population: Population, settings: Mapping[str, Any]) -> None:
    """Write the population, whole or not at all; `settings` are those that the run began with, as JSON values."""
    scenes = [asdict(scene) for scene in population.scenes]
    missing = list(population.missing)
    about = {"settings": dict(settings), "rounds": population.rounds, "missing": missing, "scenes": scenes}
    content = io.BytesIO()
    np.savez(content, frames=population.frames, about=np.frombuffer(json.dumps(about).encode(), np.uint8))
    write_whole(path, content.getvalue())


def read_population(path: Path, settings: Mapping[str, Any]) -> Population | None:
    """What a run of these settings left; None without a file, Refused for a damaged one or another run's."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about, frames = json.loads(arrays["about"].tobytes()), arrays["frames"]
        scenes = [Scene(**scene) for scene in about["scenes"]]
        found = Population(scenes, frames, int(about["rounds"]), tuple(about["missing"]))
        begun = about["settings"]
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise Refused(f"{path}: damaged; remove it to begin again") from error
    if begun != json.loads(json.dumps(dict(settings))):
        changed = sorted(key for key in {*begun, *settings} if begun.get(key) != settings.get(key))
        raise Refused(f"{path}: of a run with another {', '.join(changed)}; give another folder with -o, or remove it")
    return found
