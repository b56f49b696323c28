"""The procedural cabin: driver frames with exact labels, drawn by ray-marching signed distances.

Frame `index` of seed `seed` depends on nothing else. It is the open stand-in for recordings that nobody
may share, and since its ground truth is exact, what privacy and fidelity are measured against.

    cabin = Cabin(size=64)
    batch = cabin.render(seed=0, indices=range(16))
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from contract.field import Condition
from contract.schemas import CABIN
from sources.cartoon import sensor
from sources.cartoon.domains import CABIN_DOMAIN, Domain
from sources.cartoon.driver import PIVOT, describe
from sources.cartoon.materials import shade
from sources.cartoon.scene import EYE_HALF_WIDTH, EYE_X, EYE_Y, MOUTH_Y, Scene, distance

T = torch.Tensor

MARCH_STEPS = 22
SHADOW_STEPS = 7
HIT = 0.03
"""How near a ray must have come to a surface; what grazes an edge and runs out of steps sees the background."""

NEAR, FAR = 3.4, 8.2
"""Depths between which the scene lies, seen from the camera."""

LANDMARKS = (
    "eye_left_outer",
    "eye_left_inner",
    "eye_right_inner",
    "eye_right_outer",
    "nose_tip",
    "mouth_left",
    "mouth_right",
    "mouth_top",
    "mouth_bottom",
)
"""Names of the 2-D landmarks; left and right as they lie in the picture of a driver who faces it."""


@dataclass(frozen=True)
class Batch:
    """Rendered frames and everything that is known about them."""

    frames: npt.NDArray[np.uint8]
    """[B, H, W, 3]"""
    conditions: list[Condition]
    landmarks: npt.NDArray[np.float32]
    """[B, len(LANDMARKS), 2]: x, y as shares of the width and height, from the top left."""
    hidden: list[tuple[str, ...]]
    """Fields that the frame doesn't show, by frame."""
    subjects: npt.NDArray[np.int64]
    """Whose face it is."""


class Cabin:
    """A renderer of square frames of one size; `compiled` needs a C++ compiler and pays from some 500 frames on."""

    def __init__(
        self,
        size: int = 64,
        domain: Domain = CABIN_DOMAIN,
        supersampling: int = 2,
        compiled: bool | None = None,
        device: str = "cpu",
    ) -> None:
        self.size, self.domain, self.supersampling, self.device = size, domain, supersampling, device
        if compiled is None:
            compiled = device != "cpu" or shutil.which("g++") is not None
        self._distance: Callable[..., T] = _compile(distance) if compiled else distance
        self._shade: Callable[..., Any] = _compile(shade) if compiled else shade

    def conditions(
        self, seed: int, indices: Sequence[int], given: Condition | None = None
    ) -> tuple[list[Condition], list[int]]:
        """Who sits there and what is asked of the frame: (conditions, subjects).

        A subject has a gender, an age and a skin tone of its own. In three frames of ten the numbers are
        drawn over their whole range, whatever the prior says, so that a model learns every combination.
        """
        conditions, subjects = [], []
        for index in indices:
            stream = np.random.Generator(np.random.Philox(key=[seed, int(index)], counter=[0, 0, 1, 0]))
            subject = int(stream.integers(self.domain.subjects))
            person = np.random.Generator(
                np.random.Philox(key=[self.domain.identity_seed, subject], counter=[0, 0, 1, 0])
            )
            born = CABIN.complete({}, person)
            known: dict[str, Any] = {name: born[name] for name in ("gender", "age_group", "skin_tone")}
            if stream.random() < 0.3:
                numbers = [field for field in CABIN.fields if not field.is_class and field.name not in known]
                known |= {field.name: field.low + stream.random() * (field.high - field.low) for field in numbers}
            conditions.append(CABIN.complete(known | (given or {}), stream))
            subjects.append(subject)
        return conditions, subjects

    def render(self, seed: int, indices: Sequence[int], given: Condition | None = None) -> Batch:
        """Frames `indices` of the run `seed`, with the fields in `given` set."""
        conditions, subjects = self.conditions(seed, indices, given)
        return self.draw(conditions, subjects, seed, indices)

    @torch.inference_mode()
    def draw(self, conditions: list[Condition], subjects: Sequence[int], seed: int, indices: Sequence[int]) -> Batch:
        """Frames of given people under given conditions."""
        numbers = describe(conditions, subjects, seed, indices, self.domain)
        s = {name: torch.from_numpy(value).to(self.device, torch.float32)[:, None] for name, value in numbers.items()}
        radiance = self._radiance(s)
        noise = sensor.noise_of(seed, [int(index) for index in indices], self.size).to(self.device)
        frames = sensor.expose(radiance, s, noise).permute(0, 2, 3, 1).contiguous().cpu().numpy()
        hidden = [CABIN.hidden(condition) for condition in conditions]
        return Batch(frames, conditions, _landmarks(numbers), hidden, np.asarray(subjects))

    def _radiance(self, s: Scene) -> T:
        """March one ray a subpixel and average: [B, 3, size, size]."""
        fine = self.size * self.supersampling
        axis = (torch.arange(fine, device=self.device) + 0.5) / fine * 2.0 - 1.0
        v, u = (-axis)[:, None].expand(fine, fine).reshape(1, -1), axis[None, :].expand(fine, fine).reshape(1, -1)
        batch = s["camera_x"].shape[0]
        u, v = u.repeat(batch, 1), v.repeat(batch, 1)
        origin, ray = _rays(s, u, v)
        travelled = torch.full_like(u, NEAR)
        for _ in range(MARCH_STEPS):
            point = [o + travelled * d for o, d in zip(origin, ray, strict=True)]
            travelled = (travelled + self._distance(s, *point)).clamp(max=FAR)
        point = [o + travelled * d for o, d in zip(origin, ray, strict=True)]
        hit = (self._distance(s, *point) < HIT).to(u.dtype)
        normal = self._normal(s, point)
        shadow, open_sky = self._shadow(s, point, normal), self._open_sky(s, point, normal)
        colour = self._shade(s, hit, *point, normal, ray, shadow, open_sky, u, v)
        image = torch.stack([c.expand_as(u) for c in colour], dim=1).reshape(batch, 3, fine, fine)
        return torch.nn.functional.avg_pool2d(image, self.supersampling)

    def _normal(self, s: Scene, point: list[T]) -> tuple[T, T, T]:
        """Gradient of the distance by the tetrahedron's four corners."""
        step = 0.004
        total = [torch.zeros_like(point[0]) for _ in range(3)]
        for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
            d = self._distance(s, *(p + step * k for p, k in zip(point, corner, strict=True)))
            total = [t + k * d for t, k in zip(total, corner, strict=True)]
        scale = torch.rsqrt(total[0] ** 2 + total[1] ** 2 + total[2] ** 2 + 1e-12)
        return (total[0] * scale, total[1] * scale, total[2] * scale)

    def _shadow(self, s: Scene, point: list[T], normal: tuple[T, T, T]) -> T:
        """Soft shadow of the sun: the narrowest gap that a ray towards it passes."""
        light = (s["sun_x"], s["sun_y"], s["sun_z"])
        travelled = torch.full_like(point[0], 0.08)
        clear = torch.ones_like(point[0])
        for _ in range(SHADOW_STEPS):
            at = [p + 0.02 * n + travelled * d for p, n, d in zip(point, normal, light, strict=True)]
            gap = self._distance(s, *at)
            clear = torch.minimum(clear, (7.0 * gap / travelled).clamp(min=0.0))
            travelled = travelled + gap.clamp(0.05, 0.35)
        return clear

    def _open_sky(self, s: Scene, point: list[T], normal: tuple[T, T, T]) -> T:
        """Ambient occlusion from two samples along the normal."""
        blocked = torch.zeros_like(point[0])
        for reach, weight in ((0.09, 2.4), (0.28, 1.0)):
            at = [p + reach * n for p, n in zip(point, normal, strict=True)]
            blocked = blocked + weight * (reach - self._distance(s, *at)).clamp(min=0.0)
        return (1.0 - blocked).clamp(0.15, 1.0)


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """One fused loop over rays: without these options the compiler would write every few operations to memory."""
    options: dict[str, str | int | bool | Callable[..., Any]] = {"max_fusion_size": 100_000}
    compiled: Callable[..., Any] = torch.compile(function, dynamic=False, options=options)
    return compiled


def _rays(s: Scene, u: T, v: T) -> tuple[list[T], list[T]]:
    """Origins [B, 1] and unit directions [B, P] of a pinhole camera that looks at the origin."""
    stretch = 1.0 + s["distortion"] * (u * u + v * v)
    away = torch.sqrt(s["camera_x"] ** 2 + s["camera_y"] ** 2 + s["camera_z"] ** 2)
    forward = [-s[f"camera_{axis}"] / away for axis in "xyz"]
    flat = torch.sqrt(forward[0] ** 2 + forward[2] ** 2)
    right = [-forward[2] / flat, torch.zeros_like(flat), forward[0] / flat]
    up = [
        right[1] * forward[2] - right[2] * forward[1],
        right[2] * forward[0] - right[0] * forward[2],
        right[0] * forward[1] - right[1] * forward[0],
    ]
    a, b = u * stretch * s["half_extent"] / away, v * stretch * s["half_extent"] / away
    ray = [f + a * r + b * q for f, r, q in zip(forward, right, up, strict=True)]
    scale = torch.rsqrt(ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2)
    return [s[f"camera_{axis}"] for axis in "xyz"], [d * scale for d in ray]


def _landmarks(n: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float32]:
    """Where LANDMARKS lie in the picture: float32 [B, 9, 2]; the surface's depth is that of the head shape."""
    mouth = n["mouth"]
    zero = np.zeros_like(mouth)
    centre = MOUTH_Y - 0.06 * mouth
    half = 0.245 - 0.045 * mouth
    gap = 0.010 + 0.165 * mouth + 0.06
    near, far = EYE_X - EYE_HALF_WIDTH, EYE_X + EYE_HALF_WIDTH
    local = [
        (zero - far, zero + EYE_Y, zero + 0.58),
        (zero - near, zero + EYE_Y, zero + 0.66),
        (zero + near, zero + EYE_Y, zero + 0.66),
        (zero + far, zero + EYE_Y, zero + 0.58),
        (zero, zero - 0.19, zero + 0.90),
        (-half, centre, zero + 0.56),
        (half, centre, zero + 0.56),
        (zero, centre + gap, zero + 0.64),
        (zero, centre - gap, zero + 0.62),
    ]
    points = np.stack([np.stack(point, axis=-1) for point in local], axis=1) - PIVOT
    rotation = np.stack([np.stack([n[f"r{i}{j}"] for j in range(3)], axis=-1) for i in range(3)], axis=-2)
    world = np.einsum("bij,bkj->bki", rotation, points) + np.stack([n[f"head_{a}"] for a in "xyz"], axis=-1)[:, None]
    camera = np.stack([n[f"camera_{a}"] for a in "xyz"], axis=-1)
    away = np.linalg.norm(camera, axis=1, keepdims=True)
    forward = -camera / away
    right = np.cross(forward, np.array([0.0, 1.0, 0.0]))
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    up = np.cross(right, forward)
    offset = world - camera[:, None]
    depth = np.einsum("bkj,bj->bk", offset, forward)
    extent = (n["half_extent"][:, None] / away) * depth
    u = np.einsum("bkj,bj->bk", offset, right) / extent
    v = np.einsum("bkj,bj->bk", offset, up) / extent
    r2 = u * u + v * v
    for _ in range(4):  # undo r (1 + k r^2) by fixed-point iteration
        squeeze = 1.0 / (1.0 + n["distortion"][:, None] * r2)
        r2 = (u * u + v * v) * squeeze**2
    u, v = u / (1.0 + n["distortion"][:, None] * r2), v / (1.0 + n["distortion"][:, None] * r2)
    return np.stack([(u + 1.0) / 2.0, (1.0 - v) / 2.0], axis=-1).astype(np.float32)


def frames_per_batch(size: int, supersampling: int = 2) -> int:
    """How many frames, a power of two, make about a quarter of a million rays: they fill the cache."""
    return 1 << max(0, math.floor(math.log2(262_144 / (size * supersampling) ** 2)))
