"""The rendered cabin: frames of drivers with exact labels, path-traced.

Frame `index` of seed `seed` depends on nothing else. Consecutive frames share a sitting: one driver, one car,
one set of clothes, several moments of light, pose and expression.

    cabin = Cabin(size=128)
    batch = cabin.render(seed=0, indices=range(8))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.field import Condition
from contract.schemas import CABIN
from sources.cabin import denoise
from sources.cabin.assembly import build_scene, renderer
from sources.cabin.domains import CABIN_DOMAIN, Domain
from sources.cabin.identity import Person
from sources.cabin.labels import Layers, hidden_fields, landmarks, layers
from sources.cabin.landmarks import LANDMARKS
from sources.cabin.layout import Layout
from sources.cabin.metering import exposure_gain
from sources.cabin.moment import Moment, compose
from sources.cabin.packing import load
from sources.cabin.sensor import expose
from sources.cabin.settings import Asked, Settings
from sources.cabin.sitter import Sitter
from sources.cabin.streams import CONDITION, NOISE, SITTING, stream
from sources.cabin.windows import EYE_PATHS, FACE_PATHS, GRAIN, photograph

VERSION = 3
"""Number of the picture: frames of two versions don't belong into one folder."""

MOMENTS = 4
"""Frames of one sitting."""
SAMPLES = 4
"""Paths a pixel off the face where frames are denoised."""
PLAIN_SAMPLES = 16
"""Paths a pixel off the face where the denoiser isn't installed: about the same error."""
STRIDE = 1021
"""From one sitting's person to the next one's: everybody is drawn equally often."""
WHOLE_RANGE = 0.3
"""How many frames draw their numbers over the whole range, whatever the prior says, so that a model learns every
combination."""


@dataclass(frozen=True)
class Batch:
    """Rendered frames and everything that is known about them."""

    frames: npt.NDArray[np.uint8]
    """[B, H, W, 3]"""
    conditions: list[Condition]
    """With the openness of eyes and mouth as it was measured on the mesh"""
    landmarks: npt.NDArray[np.float32]
    """[B, len(LANDMARKS), 2]: x, y as shares of the width and height, from the top left"""
    hidden: list[tuple[str, ...]]
    """Fields that the frame doesn't show, by frame"""
    subjects: npt.NDArray[np.int64]
    """Whose face it is"""
    layers: list[Layers]
    """Depth and segmentation, where they were asked for"""


class Cabin:
    """A renderer of square frames of one size."""

    def __init__(
        self, size: int = 128, domain: Domain = CABIN_DOMAIN, samples: int | None = None, cache: str | None = None
    ) -> None:
        self.size, self.domain = size, domain
        self.denoised = denoise.available()
        self.samples = samples or (SAMPLES if self.denoised else PLAIN_SAMPLES)
        self.layout = Layout(load(cache))
        self.sitter = lru_cache(maxsize=2)(self._sitter)
        """The person of (subject, gender, age group, skin tone), built once"""

    def conditions(
        self, seed: int, indices: Sequence[int], given: Mapping[str, object] | None = None
    ) -> tuple[list[Condition], list[int]]:
        """Who sits there and what is asked of each frame: (conditions, subjects).

        A subject has a gender, an age and a skin tone of its own; a sitting has one hat and one accessory.
        """
        conditions, subjects = [], []
        for index in map(int, indices):
            sitting = stream(SITTING, seed, index // MOMENTS)
            subject = int(sitters(self.domain, seed, np.array(index)))
            born = _complete({}, stream(CONDITION, self.domain.identity_seed, subject))
            worn = _complete({}, sitting)
            known: dict[str, Any] = {name: born[name] for name in ("gender", "age_group", "skin_tone")}
            known |= {name: worn[name] for name in ("accessory", "headwear")}
            own = stream(CONDITION, seed, index)
            if own.random() < WHOLE_RANGE:
                numbers = [field for field in CABIN.fields if not field.is_class and field.name not in known]
                known |= {field.name: field.low + own.random() * (field.high - field.low) for field in numbers}
            conditions.append(_complete(known | dict(given or {}), own))
            subjects.append(subject)
        return conditions, subjects

    def render(
        self, seed: int, indices: Sequence[int], given: Mapping[str, object] | None = None, with_layers: bool = False
    ) -> Batch:
        """Frames `indices` of the run `seed`, with the fields in `given` set."""
        conditions, subjects = self.conditions(seed, indices, given)
        return self.draw(conditions, subjects, seed, indices, with_layers=with_layers)

    def draw_like(
        self, asked: Asked, seed: int, indices: Sequence[int], attempt: int = 0, with_layers: bool = False
    ) -> Batch:
        """Given conditions, which stay as they were asked, with other people or given ones."""
        rows = [index % len(asked.vectors) for index in indices]
        conditions = CABIN.decode(asked.vectors[rows])
        people, moments = sitters(self.domain, seed, np.array(indices)).tolist(), indices
        if asked.people is not None:
            people = asked.people[rows].tolist()
        if asked.moments is not None:
            moments = asked.moments[rows].tolist()
        return replace(self.draw(conditions, people, seed, moments, attempt, with_layers), conditions=conditions)

    def draw(
        self, conditions: Sequence[Condition], subjects: Sequence[int], seed: int, indices: Sequence[int],
        attempt: int = 0, with_layers: bool = False,
    ) -> Batch:  # fmt: skip
        """Frames of given people under given conditions; `attempt` changes the renderer's samples and nothing else."""
        found = [
            self._frame(condition, subject, seed, int(index), attempt, with_layers)
            for condition, subject, index in zip(conditions, subjects, indices, strict=True)
        ]
        return Batch(
            np.stack([f[0] for f in found]) if found else np.zeros((0, self.size, self.size, 3), np.uint8),
            [f[1] for f in found],
            np.stack([f[2] for f in found]) if found else np.zeros((0, len(LANDMARKS), 2), np.float32),
            [f[3] for f in found],
            np.asarray(subjects, dtype=np.int64),
            [f[4] for f in found if f[4] is not None],
        )

    def moment(self, condition: Condition, subject: int, seed: int, index: int) -> Moment:
        """Everything in the scene of one frame, before light: what tests measure."""
        key = (subject, str(condition["gender"]), str(condition["age_group"]), float(condition["skin_tone"]))
        return compose(self.sitter(*key), condition, self.domain, seed, index, index // MOMENTS)

    def _sitter(self, subject: int, gender: str, age_group: str, skin_tone: float) -> Sitter:
        person = Person.draw(self.layout.anatomy, self.domain.identity_seed, subject, gender, age_group, skin_tone)
        return Sitter(self.layout, person)

    def _frame(
        self, condition: Condition, subject: int, seed: int, index: int, attempt: int, with_layers: bool
    ) -> tuple[npt.NDArray[np.uint8], Condition, npt.NDArray[np.float32], tuple[str, ...], Layers | None]:
        moment = self.moment(condition, subject, seed, index)
        scene = build_scene(moment.shapes(), moment.emitters(), moment.to_head)
        sampler_seed = (index * 2654435761 + seed * 40503 + attempt * 7919) % (1 << 31)
        radiance = photograph(scene, moment, self.size, self.samples, sampler_seed, self.denoised)
        gain = exposure_gain(scene, moment, radiance)
        frame = expose(radiance, gain, moment.optics, stream(NOISE, seed, index))
        measured = CABIN.check(
            {**condition, "eye_openness": moment.measured.eyes, "mouth_openness": moment.measured.mouth}
        )
        hidden = hidden_fields(scene, moment, measured)
        return frame, measured, landmarks(moment), hidden, layers(scene, moment, self.size) if with_layers else None


def sitters(domain: Domain, seed: int, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Who sits in each frame: everybody of the domain in turn, from 0 to `subjects` - 1."""
    return np.asarray((indices // MOMENTS * STRIDE + seed % domain.subjects) % domain.subjects)


def check_installed(report: Callable[[str], None]) -> None:
    """Unavailable where the path tracer or the mesh is missing; `report` gets a line where only the denoiser is."""
    renderer()
    load()
    if not denoise.available():
        report(f"Open Image Denoise isn't installed: {PLAIN_SAMPLES} paths a pixel and no denoising")


def _complete(given: Mapping[str, object], generator: np.random.Generator) -> Condition:
    """Open fields from the prior; a night frame is near infrared whatever was asked."""
    condition = CABIN.complete(given, generator)
    return {**condition, "sensor": "nir"} if condition["lighting"] == "night" else condition


def origin(settings: Settings) -> dict[str, Any]:
    """What made the frames of a run, as JSON values."""
    denoised = denoise.available()
    return {
        "renderer": "cabin", "version": VERSION, "domain": settings.domain, "pixels": settings.size,
        "seed": settings.seed,
        "samples": settings.samples or (SAMPLES if denoised else PLAIN_SAMPLES),
        "denoiser": "oidn" if denoised else None,
        "grain": GRAIN if denoised else 0.0, "moments": MOMENTS,
        "face_paths": FACE_PATHS, "eye_paths": EYE_PATHS, "depth_and_masks": settings.layers,
        **({"like": dict(settings.asked.origin)} if settings.asked else {}),
    }  # fmt: skip
