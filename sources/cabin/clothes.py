"""Clothes: a shirt cut from the body's own hull along a neckline, with collar, hood, pattern, and the seat belt.

wardrobe = Wardrobe.draw(run_seed, sitting)
surfaces = dress(anatomy, wardrobe, posed)           # posed vertices in world coordinates
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from sources.cabin.anatomy import Anatomy
from sources.cabin.streams import CLOTHES, between, choose, stream
from sources.cabin.surfaces import Material, Surface, grid, join, sphere, tube

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OFFSET = 0.007
"""How far cloth stands off the body, metres."""
NECK_AXIS = np.array([0.0, -0.012, 0.752])
FLAT = 1.4
"""Texture widths a metre of the template."""
TORSO = 0.21
"""Half the width of the template's torso without its arms, metres."""
BELT_WIDTH = 0.046

PALETTE = [
    (0.05, 0.06, 0.09), (0.03, 0.03, 0.03), (0.45, 0.44, 0.42), (0.62, 0.61, 0.60), (0.16, 0.17, 0.19),
    (0.07, 0.12, 0.24),
    (0.20, 0.28, 0.42), (0.36, 0.06, 0.06), (0.10, 0.20, 0.13), (0.42, 0.30, 0.14), (0.30, 0.18, 0.28),
    (0.55, 0.42, 0.38),
    (0.24, 0.32, 0.30), (0.50, 0.20, 0.12),
]  # fmt: skip


@dataclass(frozen=True)
class Wardrobe:
    """What is worn during one sitting."""

    kind: str
    pattern: str
    colour: tuple[float, float, float]
    second: tuple[float, float, float]
    nir: tuple[float, float]
    scale: float
    seed: int

    @staticmethod
    def draw(seed: int, number: int) -> Wardrobe:
        own = stream(CLOTHES, seed, number)
        kind = choose(own, {"crew": 3, "vee": 1.6, "shirt": 3, "hood": 1.6, "roll": 1.0, "jacket": 2.0})
        pattern = choose(own, {"plain": 5, "stripes": 1.2, "check": 1.2, "heather": 2, "pinstripe": 0.6})
        first, second = (PALETTE[int(own.integers(len(PALETTE)))] for _ in range(2))
        gain = 0.8 + 0.5 * own.random(3)
        r, g, b = np.clip(np.array(first) * gain, 0.01, 0.8).tolist()
        return Wardrobe(
            kind, pattern, (r, g, b), second, (between(own, 0.10, 0.62), between(own, 0.10, 0.62)),
            between(own, 0.7, 1.6),
            int(own.integers(1 << 31)),
        )  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """A mesh cut along an isoline: each corner lies `share` of the way from vertex `first` to vertex `second`."""

    first: Ints
    second: Ints
    share: Floats
    faces: Ints
    edge: Ints
    """Corners on the isoline"""

    def __call__(self, values: Floats) -> Floats:
        return np.asarray(values[self.first] * (1 - self.share[:, None]) + values[self.second] * self.share[:, None])


def cut(faces: Ints, values: Floats) -> Cut:
    """The part of a mesh where `values` of its vertices are positive, new corners on the edges that cross 0."""
    positive = values > 0
    count = positive[faces].sum(axis=1)
    triangles = [faces[count == 3]]
    extra: list[Ints] = []
    for wanted in (1, 2):
        found = faces[count == wanted]
        odd = positive[found] if wanted == 1 else ~positive[found]
        roll = odd.argmax(axis=1)
        a, b, c = (np.take_along_axis(found, ((roll + k) % 3)[:, None], axis=1)[:, 0] for k in range(3))
        base = len(values) + 2 * sum(len(e) // 2 for e in extra)
        extra.append(np.concatenate([np.stack([a, b], axis=1), np.stack([a, c], axis=1)]))
        ab, ac = base + np.arange(len(found)), base + len(found) + np.arange(len(found))
        if wanted == 1:
            triangles.append(np.stack([a, ab, ac], axis=1))
        else:
            triangles += [np.stack([ab, b, c], axis=1), np.stack([ab, c, ac], axis=1)]
    pairs = np.concatenate([np.stack([np.arange(len(values))] * 2, axis=1), *extra])
    start, end = values[pairs[:, 0]], values[pairs[:, 1]]
    share = np.where(pairs[:, 0] == pairs[:, 1], 0.0, start / np.where(start == end, 1.0, start - end))
    used, inverse = np.unique(np.concatenate(triangles), return_inverse=True)
    pairs, share = pairs[used], share[used]
    edge = np.flatnonzero(pairs[:, 0] != pairs[:, 1])
    return Cut(pairs[:, 0], pairs[:, 1], share, inverse.reshape(-1, 3), edge)


@lru_cache(maxsize=12)
def _pattern_cut(anatomy: Anatomy, kind: str) -> Cut:
    """The shirt's cut: neckline, and no more of the body than a driver camera can see."""
    part = anatomy.part("tights")
    points = anatomy.template
    neck = _neckline(points, kind)
    seen = (points[:, 2] > 0.40) | (np.abs(points[:, 0]) > 0.22)
    return cut(part.source[part.faces], np.where(seen, neck, -1.0))


def _neckline(points: Floats, kind: str) -> Floats:
    """Positive below the neckline, metres, on the template."""
    x, y, z = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    if kind == "roll":
        return 0.799 + 0.25 * (y + 0.06) - z
    line = 0.752 + 0.45 * (y + 0.01) + (0.010 if kind == "hood" else 0.0)
    value = line - z
    if kind in ("vee", "shirt", "jacket"):
        depth = {"vee": 1.25, "shirt": 0.9, "jacket": 1.6}[kind]
        width = {"vee": 0.050, "shirt": 0.030, "jacket": 0.055}[kind]
        value = np.where(y < -0.03, value - depth * np.maximum(width - x, 0.0), value)
    return np.asarray(value)


def dress(anatomy: Anatomy, wardrobe: Wardrobe, posed: Floats) -> list[Surface]:
    """Shirt, and what belongs to its kind, around posed vertices [V, 3]."""
    found = [_garment(anatomy, wardrobe.kind, posed, OFFSET, _cloth(wardrobe), "shirt")]
    if wardrobe.kind == "roll":  # it ends with the hull, under the chin
        return found
    shirt = found[0]
    rim = _rim(anatomy, wardrobe.kind, posed, OFFSET)
    trim = _plain(wardrobe.second if wardrobe.kind == "jacket" else wardrobe.colour, wardrobe.nir[0])
    if wardrobe.kind in ("shirt", "jacket"):
        found.append(_collar(rim, trim, height=0.026 if wardrobe.kind == "shirt" else 0.034))
    elif wardrobe.kind == "hood":
        found.append(_hood(rim, trim))
    else:
        found.append(Surface(*tube(rim, 0.0042, 6, closed=True), material=trim, label="clothes", name="hem"))
    if wardrobe.kind == "jacket":
        under = _plain(wardrobe.second, wardrobe.nir[1])
        found.append(_garment(anatomy, "crew", posed, 0.003, under, "undershirt"))
    if wardrobe.kind in ("shirt", "jacket"):
        found.append(_buttons(shirt, zip_only=wardrobe.kind == "jacket"))
    return found


def _garment(anatomy: Anatomy, kind: str, posed: Floats, offset: float, material: Material, name: str) -> Surface:
    pattern = _pattern_cut(anatomy, kind)
    part = anatomy.part("tights")
    whole = Surface(posed, part.source[part.faces], np.zeros((len(posed), 2)), material)
    folds = np.sin(anatomy.template @ np.array([31.0, 17.0, 53.0])) * 0.0012
    stood = posed + (offset + folds[:, None]) * whole.normals()
    flat = anatomy.template[:, [0, 2]] * FLAT + np.array([0.5, -0.45])
    return Surface(pattern(stood), pattern.faces, pattern(flat), material, "clothes", name=name)


def _rim(anatomy: Anatomy, kind: str, posed: Floats, offset: float) -> Floats:
    """The neckline as a closed line of 48 points, from the front around the subject's left."""
    pattern = _pattern_cut(anatomy, kind)
    template = pattern(anatomy.template)[pattern.edge]
    near = (np.linalg.norm(template - NECK_AXIS, axis=1) < 0.17) & (template[:, 2] > 0.62)
    angle = np.arctan2(template[near, 0], -(template[near, 1] - NECK_AXIS[1]))
    part = anatomy.part("tights")
    normals = Surface(posed, part.source[part.faces], np.zeros((len(posed), 2)), _plain((0, 0, 0), 0)).normals()
    line = pattern(posed + offset * normals)[pattern.edge][near]
    order = np.argsort(angle)
    wanted = np.linspace(-np.pi, np.pi, 48, endpoint=False)
    return np.stack([np.interp(wanted, angle[order], line[order, axis], period=2 * np.pi) for axis in range(3)], axis=1)


def _outward(rim: Floats) -> Floats:
    out = rim - rim.mean(axis=0)
    out[:, 2] = 0.0
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))


def _collar(rim: Floats, material: Material, height: float) -> Surface:
    """A folded collar, open at the front."""
    rolled = np.roll(rim, 24, axis=0)[2:-1]  # starts beside the middle of the front
    out = np.roll(_outward(rim), 24, axis=0)[2:-1]
    lift = np.interp(np.linspace(0, 1, len(rolled)), [0, 0.12, 0.5, 0.88, 1], [0.55, 0.9, 1.0, 0.9, 0.55])[:, None]
    up = np.array([0.0, 0.0, 1.0]) * height
    rows = [
        rolled - 0.2 * up, rolled + lift * up * 0.6 + 0.001 * out, rolled + lift * up + 0.004 * out,
        rolled + lift * up * 0.95 + 0.009 * out, rolled + lift * up * 0.3 + 0.017 * out,
        rolled - 0.35 * up + 0.024 * out,
    ]  # fmt: skip
    return Surface(*grid(np.stack(rows)), material=material, label="clothes", name="collar")


def _hood(rim: Floats, material: Material) -> Surface:
    """A hood that lies behind the neck: a roll that is thick at the back and thin at the front."""
    angle = np.linspace(-np.pi, np.pi, 48, endpoint=False)
    thick = 0.008 + 0.030 * np.clip(-np.cos(angle), 0, 1) ** 0.8 + 0.010 * np.abs(np.sin(angle))
    line = rim + _outward(rim) * (0.7 * thick)[:, None] + np.array([0, 0, 1.0]) * (0.25 * thick)[:, None]
    cords = []
    for side in (1.0, -1.0):
        start = line[24] + np.array([side * 0.028, -0.006, -0.01])
        cords.append(tube(start + np.linspace(0, 1, 8)[:, None] * np.array([side * 0.006, -0.015, -0.11]), 0.0025, 6))
    return Surface(*join(tube(line, thick, 10, closed=True), *cords), material=material, label="clothes", name="hood")


def _buttons(shirt: Surface, zip_only: bool) -> Surface:
    """Buttons (or a zip) down the middle of the chest."""
    z = shirt.vertices[:, 2]
    middle = shirt.vertices[
        (np.abs(shirt.vertices[:, 0]) < 0.05) & (shirt.vertices[:, 1] < np.median(shirt.vertices[:, 1]))
    ]
    top = float(z.max()) - 0.14
    heights = top - np.arange(6) * (0.012 if zip_only else 0.065)
    tree = cKDTree(middle[:, [0, 2]])
    solids = []
    for height in heights:
        _, rows = tree.query([0.0, height], k=3)
        at = np.array([0.0, middle[rows, 1].min() - 0.002, height])
        points, faces, uv = sphere(0.0055 if not zip_only else 0.004, 6)
        solids.append((points * [1, 0.4, 1] + at, faces, uv))
    material = Material((0.5, 0.5, 0.5), nir=0.45, roughness=0.3, specular=0.5)
    return Surface(*join(*solids), material=material, label="clothes", name="buttons")


def belt(shirt: Surface, anchor: Floats, side: float) -> Surface:
    """The seat belt from the pillar over the shoulder across the chest; `side` +1 is the subject's left."""
    points = shirt.vertices[np.abs(shirt.uv[:, 0] - 0.5) < TORSO * FLAT]  # a raised sleeve isn't under the belt
    middle = np.median(points[points[:, 2] > np.percentile(points[:, 2], 60), 0])
    top = points[np.abs(points[:, 0] - (middle + side * 0.115)) < 0.03]
    shoulder = top[top[:, 2].argmax()]
    front = points[points[:, 1] < shoulder[1] + 0.02]
    tree = cKDTree(front[:, [0, 2]])
    share = np.linspace(0.0, 1.0, 26)
    x = shoulder[0] - side * 0.30 * share
    z = shoulder[2] + 0.004 - 0.36 * share
    _, rows = tree.query(np.stack([x, z], axis=1), k=5)
    y = front[rows, 1].min(axis=1)
    y = np.minimum(gaussian_filter(y, 1.6, mode="nearest"), y + 0.004) - 0.007
    y[:4] = np.interp(np.arange(4), [0, 4], [shoulder[1], y[4]])
    chest = np.stack([x, y, z + 0.010 * np.exp(-share * 14)], axis=1)
    behind = anchor + np.linspace(0, 1, 8)[:, None] * (chest[0] - anchor)
    line = np.concatenate([behind[:-1], chest])
    along = np.gradient(line, axis=0)
    across = np.cross(along, [0.0, -1.0, 0.25])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    sheet = np.stack([line - 0.5 * BELT_WIDTH * across, line, line + 0.5 * BELT_WIDTH * across])
    material = Material((0.035, 0.035, 0.038), nir=0.16, roughness=0.5, sheen=0.3)
    return Surface(*grid(sheet), material=material, label="clothes", name="belt")


def _plain(colour: tuple[float, float, float], nir: float) -> Material:
    return Material(colour, nir, roughness=0.85, specular=0.15, sheen=0.25)


def _cloth(wardrobe: Wardrobe) -> Material:
    """The pattern as a texture over the chest's plane."""
    size = 192
    own = np.random.default_rng(wardrobe.seed)
    v, u = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size), indexing="ij")
    k = 14.0 * wardrobe.scale
    mix = {
        "plain": np.zeros_like(u),
        "stripes": (np.sin(2 * np.pi * v * k) > 0.1).astype(float),
        "check": 0.5 * (np.sin(2 * np.pi * v * k) > 0.3) + 0.5 * (np.sin(2 * np.pi * u * k) > 0.3),
        "pinstripe": 0.5 * (np.sin(2 * np.pi * u * 2.2 * k) > 0.9),
        "heather": np.clip(0.25 + 0.3 * gaussian_filter(own.standard_normal((size, size)), (0.6, 1.6)), 0, 0.6),
    }[wardrobe.pattern]
    weave = 1.0 + 0.07 * own.standard_normal((size, size))
    wear = 1.0 + 0.25 * gaussian_filter(own.standard_normal((size, size)), 9) * 9
    rgb = (np.array(wardrobe.colour) * (1 - mix[..., None]) + np.array(wardrobe.second) * mix[..., None]) * (
        weave * wear
    )[..., None]
    nir = (wardrobe.nir[0] * (1 - mix) + wardrobe.nir[1] * mix) * weave * wear
    return Material(
        np.clip(rgb, 0.005, 0.8).astype(np.float32),
        np.clip(nir, 0.02, 0.8).astype(np.float32),
        roughness=0.85,
        specular=0.15,
        sheen=0.25,
    )
