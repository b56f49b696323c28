"""Skin: albedo and relief of a head in visible light and in the near infrared.

    maps = SkinMaps(layout, person)
    albedo = maps.albedo("nir", fatigue=0.7)       # float32 [MAP_SIZE, MAP_SIZE, 3], linear
    relief = maps.relief(fatigue=0.7)              # float32 [MAP_SIZE, MAP_SIZE], millimetres

In the near infrared melanin hardly absorbs: tones lie close together, lips and freckles nearly vanish.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from sources.cabin.anatomy import MAP_SIZE
from sources.cabin.identity import Person
from sources.cabin.layout import EYE, Layout
from sources.cabin.streams import SKIN, between, stream

Field = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

TONES = np.log(
    np.array(
        [(0.66, 0.455, 0.365), (0.56, 0.35, 0.255), (0.42, 0.235, 0.150), (0.22, 0.110, 0.066), (0.095, 0.048, 0.032)]
    )
)
"""Linear albedo along `skin_tone` from 0 to 1, as logarithms."""
NIR_TONES = (0.60, 0.44)
HAEMOGLOBIN = np.array([0.03, 0.24, 0.21])
"""What a unit of blood absorbs in red, green and blue."""
NIR_BLOOD = 0.05
PALLOR = 0.55
"""Units of blood that a face lacks that is severely tired."""
NIR_RINGS = 0.75
"""How much of the rings around tired eyes the near infrared shows: their veins carry blood without oxygen."""


@lru_cache(maxsize=1)
def _noise() -> list[Field]:
    """Four smooth random fields of falling scale, the same for everybody; people take shifted ones."""
    generator = np.random.default_rng(7)
    fields = []
    for sigma in (40.0, 14.0, 4.0, 1.2):
        field = gaussian_filter(generator.standard_normal((MAP_SIZE, MAP_SIZE)), sigma, mode="wrap")
        fields.append((field / field.std()).astype(np.float32))
    return fields


def tone(skin_tone: float) -> Floats:
    """Linear albedo of a skin tone in red, green, blue."""
    knots = np.linspace(0.0, 1.0, len(TONES))
    return np.asarray(np.exp([np.interp(skin_tone, knots, TONES[:, channel]) for channel in range(3)]))


def flat_albedo(person: Person, sensor: str) -> Floats:
    """Mean skin colour, for hands and body: [3]."""
    if sensor == "nir":
        return np.full(3, NIR_TONES[0] + (NIR_TONES[1] - NIR_TONES[0]) * person.skin_tone)
    return tone(person.skin_tone)


class SkinMaps:
    """One person's skin; the fields that no moment changes are computed once."""

    def __init__(self, layout: Layout, person: Person) -> None:
        self.layout, self.person = layout, person
        own = stream(SKIN, person.seed, person.subject)
        shifts = own.integers(0, MAP_SIZE, size=(4, 2))
        self.noise = [np.roll(field, tuple(shift), axis=(0, 1)) for field, shift in zip(_noise(), shifts, strict=True)]
        self.freckles = max(0.0, between(own, -1.2, 1.0)) * (1.0 - person.skin_tone)
        self.ruddy = between(own, 0.2, 1.0)
        makeup, lipstick = between(own, 0.0, 1.0), between(own, 0.0, 1.0)
        self.makeup, self.lipstick = (makeup, lipstick) if person.is_woman else (0.0, 0.0)
        self.lip_hue = np.array([(0.46, 0.10, 0.10), (0.50, 0.16, 0.16), (0.36, 0.07, 0.12)][int(own.integers(3))])
        self.phases = own.random(8)
        self.fields = _fields(layout)
        self.wrinkles = self._wrinkles()

    def albedo(self, sensor: str, fatigue: float) -> Field:
        """Linear albedo for one band; `fatigue` 0 to 1 darkens and reddens what lies around the eyes."""
        person, fields = self.person, self.fields
        nir = sensor == "nir"
        blood = 0.5 * self.ruddy * fields["ruddy"] + 0.12 * self.noise[1] + 0.10 * self.noise[2]
        blood = blood + (0.20 + 1.6 * fatigue) * fields["lid_red"] + 0.25 * self.makeup * fields["cheek"]
        blood = blood - PALLOR * fatigue
        base = np.log(flat_albedo(person, sensor))
        absorb = np.full(3, NIR_BLOOD) if nir else HAEMOGLOBIN
        log = base.astype(np.float32) - blood[..., None] * absorb.astype(np.float32)
        mottle = 0.05 * self.noise[1] + 0.035 * self.noise[3] + 0.03 * self.noise[0]
        rings = (0.08 + 0.10 * person.years + 1.15 * fatigue) * fields["circles"] + 0.40 * fatigue * fields["hollow"]
        spots = self.freckles * fields["freckle_zone"] * np.clip(self.noise[2] - 1.0, 0, 1.2) * 0.8
        spots = spots + person.years * 0.35 * np.clip(self.noise[2] - 1.7, 0, 1.0)
        shade = spots * (0.45 if nir else 1.0) + rings * (NIR_RINGS if nir else 1.0)
        tint = np.array([1.0, 1.0, 1.0] if nir else [0.85, 1.0, 0.90], dtype=np.float32)
        log = log + mottle[..., None] * (0.5 if nir else 1.0) - shade[..., None] * tint
        strength = 0.4 if nir else 0.75  # blood darkens a fold, less so in the near infrared
        log = log - strength * self._lines(fatigue)[..., None]
        albedo = np.exp(log)
        albedo = self._lips(albedo, nir, fatigue)
        return np.clip(self._lids(albedo, nir), 0.004, 0.85).astype(np.float32)

    def _lines(self, fatigue: float) -> Field:
        """Absorption of creases and wrinkles: relief alone is invisible at small sizes."""
        fields, person = self.fields, self.person
        crease = person.crease * 0.85 * fields["crease"]
        bag = (0.08 + 0.30 * person.years + 0.95 * fatigue) * fields["bag_line"]
        folds = (0.05 + 0.50 * person.years + 0.30 * fatigue) * (0.75 if person.is_woman else 1.0) * fields["folds"]
        return np.asarray(
            crease + bag + folds + (0.6 if person.is_woman else 0.9) * person.years * self.wrinkles, dtype=np.float32
        )

    def _lips(self, albedo: Floats, nir: bool, fatigue: float) -> Floats:
        lips = self.layout.anatomy.map_lips[..., None]
        skin = flat_albedo(self.person, "nir" if nir else "rgb").astype(np.float32)
        if nir:
            return albedo * (1.0 - lips * 0.14)
        rosy = skin * np.array([0.86, 0.52, 0.56], np.float32) + np.array([0.015, 0.0, 0.003], np.float32)
        rosy = rosy + 0.45 * fatigue * (0.85 * skin - rosy)
        if self.lipstick > 0.45:
            share = 0.65 * (self.lipstick - 0.45) / 0.55
            rosy = (1 - share) * rosy + share * self.lip_hue.astype(np.float32) * (0.35 + 0.65 * skin[0] / 0.6)
        return np.asarray(albedo * (1 - lips) + albedo.mean(axis=-1, keepdims=True) / skin.mean() * rosy * lips)

    def _lids(self, albedo: Floats, nir: bool) -> Floats:
        """Lash line, the moist rim of the lower lid, and eye shadow."""
        upper, lower = self.layout.lid_distance
        liner = 0.68 + 0.27 * max(self.makeup - 0.3, 0.0) / 0.7 if self.person.is_woman else 0.62
        lash = np.exp(-((upper / 0.0017) ** 2)) * liner + np.exp(-((lower / 0.0008) ** 2)) * 0.45 * liner
        shadow = 0.35 * max(self.makeup - 0.55, 0.0) * np.exp(-(((upper - 0.003) / 0.004) ** 2))
        return np.asarray(albedo * (1.0 - lash)[..., None] * (1.0 - shadow * (0.4 if nir else 1.0))[..., None])

    def relief(self, fatigue: float) -> Field:
        """Height in millimetres: pores, lid fold, bags, wrinkles."""
        fields, person = self.fields, self.person
        height = 0.025 * self.noise[3] - 0.55 * person.crease * fields["crease"]
        height = height + (0.10 + 0.6 * person.years + 1.7 * fatigue) * fields["bag"]
        height = height - 0.6 * fatigue * fields["hollow"]
        height = (
            height - (0.2 + 0.65 * person.years + 0.45 * fatigue) * fields["folds"] - 0.5 * person.years * self.wrinkles
        )
        return np.asarray(height, dtype=np.float32)

    def _wrinkles(self) -> Field:
        """Forehead lines, crow's feet and frown lines, 0 to 1; each person's own."""
        points, phases = self.layout.texels, self.phases
        x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
        front = y < -0.09
        wave = z + 0.0025 * np.sin(x * 90 + 6 * phases[0]) + 0.002 * np.sin(points[..., 0] * 140 + 6 * phases[1])
        period = 0.0085 + 0.003 * phases[2]
        lines = np.exp(-(((wave % period) - period / 2) ** 2) / 0.0021**2)
        forehead = lines * np.exp(-(((z - 0.945) / 0.016) ** 2)) * np.clip((0.046 - x) / 0.015, 0, 1)
        dx, dz = x - 0.050, z - 0.9005
        radius, angle = np.hypot(dx, dz), np.degrees(np.arctan2(dz, dx))
        rays = np.exp(-(((angle + 6 * np.sin(radius * 300)) % 22.0 - 11.0) ** 2) / 5.2**2)
        crow = rays * np.exp(-(((radius - 0.011) / 0.008) ** 2)) * (np.abs(angle) < 65)
        frown = np.exp(-(((x - 0.0075) / 0.0016) ** 2)) * np.exp(-(((z - 0.922) / 0.009) ** 2))
        total = np.where(front, np.maximum(forehead * 0.9, frown * 0.7), 0.0)
        total = np.maximum(total, np.where(y < -0.06, crow, 0.0))
        broken = np.clip(0.70 + 0.35 * self.noise[1], 0.15, 1.0)  # no line is of one depth from end to end
        return np.asarray(total * broken, dtype=np.float32)


@lru_cache(maxsize=1)
def _fields(layout: Layout) -> dict[str, Field]:
    """Fields of the template that everybody shares, each [MAP_SIZE, MAP_SIZE]."""
    points = layout.texels
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    front = y < -0.09
    upper, lower = layout.lid_distance
    near_eye = np.exp(-(((x - 0.033) / 0.017) ** 4)) * front
    above, below = z > EYE[2] + 0.001, z < EYE[2] + 0.001
    bag_edge = 0.0105 - 0.10 * np.abs(x - 0.030)
    fold = _nasolabial(x, z)
    fields = {
        "crease": np.exp(-(((upper - 0.0052) / 0.0010) ** 2)) * near_eye * above,
        "bag": np.exp(-(((lower - 0.0062) / 0.0030) ** 2)) * near_eye * below,
        "bag_line": np.exp(-(((lower - bag_edge) / 0.0016) ** 2)) * near_eye * below * np.clip((0.047 - x) / 0.012,
            0, 1),
        "circles": (np.exp(-((lower / 0.011) ** 2)) * below + 0.35 * np.exp(-((upper / 0.008) ** 2)) * above) * front,
        "hollow": _spot(points, (0.052, -0.118, 0.838), 0.015) * front,
        "lid_red": np.exp(-((np.minimum(upper, lower) / 0.0022) ** 2)) * front,
        "folds": np.where(y < -0.10, fold, 0.0),
        "ruddy": _spot(points, (0.045, -0.13, 0.862), 0.022) + _spot(points, (0.0, -0.172, 0.862), 0.016)
        + 0.6 * _spot(points, (0.085, -0.045, 0.88), 0.03) + 0.3 * _spot(points, (0.0, -0.155, 0.80), 0.018),
        "cheek": _spot(points, (0.050, -0.125, 0.868), 0.018),
        "freckle_zone": _spot(points, (0.035, -0.14, 0.872), 0.03) + _spot(points, (0.0, -0.165, 0.875), 0.02),
    }  # fmt: skip
    return {name: np.asarray(value, dtype=np.float32) for name, value in fields.items()}


def _nasolabial(x: Floats, z: Floats) -> Floats:
    """The fold from the wing of the nose past the corner of the mouth, and on towards the chin."""
    path = np.interp(z, [0.800, 0.815, 0.829, 0.845, 0.860], [0.0290, 0.0300, 0.0315, 0.0275, 0.0200])
    depth = np.interp(z, [0.796, 0.812, 0.835, 0.855, 0.866], [0.0, 0.45, 1.0, 0.9, 0.0])
    return np.asarray(np.exp(-(((x - path) / 0.0028) ** 2)) * depth)


def _spot(points: Floats, centre: tuple[float, float, float], radius: float) -> Floats:
    mirrored = np.stack([np.abs(points[..., 0]), points[..., 1], points[..., 2]], axis=-1)
    return np.asarray(np.exp(-((mirrored - np.array(centre)) ** 2).sum(axis=-1) / radius**2))
