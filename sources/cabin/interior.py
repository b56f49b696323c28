"""The cabin around a driver: seat, headrest, rear bench, roof, pillars, doors, passenger seat.

interior = Interior.draw(run_seed, sitting)
surfaces = furnish(interior, eyes)                   # world coordinates, around the point between the eyes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sources.cabin.skeleton import about
from sources.cabin.streams import CABIN, between, choose, stream
from sources.cabin.surfaces import Material, Solid, Surface, capped, grid, join, place, rounded_box

Floats = npt.NDArray[np.float64]

FABRICS = {
    "black": (0.022, 0.022, 0.024), "charcoal": (0.06, 0.06, 0.065), "grey": (0.17, 0.17, 0.175),
    "beige": (0.40, 0.33, 0.25),
    "cream": (0.52, 0.48, 0.41), "tan": (0.28, 0.14, 0.065), "maroon": (0.15, 0.025, 0.025), "navy": (0.03, 0.04, 0.09),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Interior:
    """One car."""

    side: float
    """On which side of the driver the near door is: +1 is the subject's left (left-hand drive)"""
    seat: Material
    trim: Material
    roof: Material
    headrest: tuple[float, float, float]
    headrest_back: float
    headrest_up: float
    recline: float
    roundness: float
    roof_height: float
    wide: float
    passenger: bool
    stitching: float

    @staticmethod
    def draw(seed: int, number: int, shifted: bool = False) -> Interior:
        """`shifted` gives the cars of the other domain: mostly right-hand drive, light, wider and higher."""
        own = stream(CABIN, seed, number)
        dark = {"black": 3, "charcoal": 3, "grey": 2, "beige": 1, "tan": 0.8, "maroon": 0.4, "navy": 0.4, "cream": 0.3}
        light = {"grey": 2, "beige": 3, "cream": 3, "tan": 1.2, "charcoal": 1, "black": 0.6}
        seat = choose(own, light if shifted else dark)
        trim = choose(own, {"black": 3, "charcoal": 3, "grey": 1.5, "beige": 1})
        roof = choose(own, {"grey": 2, "cream": 2, "beige": 1, "black": 1.2, "charcoal": 1})
        leather = own.random() < 0.5
        left = own.random() < (0.2 if shifted else 0.8)
        extra = 0.06 if shifted else 0.0
        return Interior(
            1.0 if left else -1.0, _fabric(seat, own, leather), _fabric(trim, own, True), _fabric(roof, own, False),
            (between(own, 0.23, 0.30), between(own, 0.09, 0.13), between(own, 0.15, 0.22)), between(own, 0.185, 0.25),
            between(own, -0.055, 0.02), between(own, 14.0, 24.0), between(own, 0.22, 0.6),
            between(own, 0.19, 0.27) + extra,
            between(own, 0.46, 0.54) + extra, bool(own.random() < 0.75), between(own, 0.0, 1.0),
        )  # fmt: skip


def _fabric(name: str, own: np.random.Generator, leather: bool) -> Material:
    r, g, b = (np.array(FABRICS[name]) * (0.8 + 0.4 * own.random())).tolist()
    nir = between(own, 0.10, 0.55)  # dyes are unpredictable in the near infrared
    if leather:
        return Material((r, g, b), nir, roughness=0.42, specular=0.45)
    return Material((r, g, b), nir, roughness=0.85, specular=0.15, sheen=0.2)


def furnish(interior: Interior, eyes: Floats) -> list[Surface]:
    """Every surface of the cabin; `eyes` is the point between the eyes of the driver at rest."""
    side = interior.side
    back = about((1, 0, 0), -np.radians(interior.recline))
    parts = {
        "seat": (_seat(interior, back), interior.seat),
        "rear": (_rear_bench(), interior.seat),
        "trim": (_doors(interior), interior.trim),
        "roof": (_roof(interior), interior.roof),
        "posts": (_posts(interior), Material((0.35, 0.35, 0.36), 0.35, roughness=0.25, specular=0.9)),
    }
    if interior.passenger:
        parts["passenger"] = (place(_seat(interior, back), np.eye(3), (-side * 0.74, 0.04, 0.0)), interior.seat)
    found = []
    for name, (solid, material) in parts.items():
        flip = solid[0] * np.array([side, 1.0, 1.0])
        found.append(Surface(flip + eyes, solid[1], solid[2], material, name=f"cabin_{name}"))
    return found


def belt_anchor(interior: Interior, eyes: Floats) -> Floats:
    """Where the belt leaves the pillar."""
    return np.asarray(eyes + np.array([interior.side * (interior.wide - 0.07), 0.30, -0.06]))


def _seat(interior: Interior, back: Floats) -> Solid:
    """Backrest with side bolsters, and the headrest; origin between the eyes."""
    low = np.array([0.0, interior.headrest_back + 0.09, -0.52])
    rest = place(rounded_box((0.46, 0.13, 0.72), 0.35), back, low)
    bolsters = [
        place(rounded_box((0.09, 0.17, 0.52), 0.6), back, low + np.array([x, -0.05, -0.03])) for x in (-0.225, 0.225)
    ]
    head = place(
        rounded_box(interior.headrest, interior.roundness),
        about((1, 0, 0), -np.radians(6)),
        (0.0, interior.headrest_back, interior.headrest_up),
    )
    seam = place(
        rounded_box((interior.headrest[0] * 0.7, 0.02, 0.012), 0.5),
        np.eye(3),
        (0.0, interior.headrest_back - interior.headrest[1] * 0.48, interior.headrest_up + 0.02),
    )
    return join(rest, *bolsters, head, *([seam] if interior.stitching > 0.5 else []))


def _posts(interior: Interior) -> Solid:
    up = np.linspace(0, 1, 4)[:, None]
    bottom = interior.headrest_up - interior.headrest[2] / 2
    posts = []
    for x in (-0.06, 0.06):
        start = np.array([x, interior.headrest_back + 0.01, bottom + 0.01])
        posts.append(capped(start + up * np.array([0.0, 0.02, -0.10]), 0.007, 8))
    return join(*posts)


def _rear_bench() -> Solid:
    bench = place(rounded_box((1.34, 0.18, 0.66), 0.3), about((1, 0, 0), -np.radians(22)), (-0.37, 1.08, -0.42))
    heads = [place(rounded_box((0.25, 0.10, 0.17), 0.4), np.eye(3), (x, 1.16, -0.02)) for x in (0.0, -0.37, -0.76)]
    shelf = place(rounded_box((1.4, 0.5, 0.04), 0.2), np.eye(3), (-0.37, 1.40, -0.12))
    return join(bench, *heads, shelf)


def _doors(interior: Interior) -> Solid:
    """Door panels, sills, pillars and the wall below the rear window, on both sides."""
    near, far = interior.wide, -1.28
    solids = []
    for x, tilt in ((near, -8.0), (far, 8.0)):
        lean = about((0, 1, 0), np.radians(tilt))
        solids.append(place(rounded_box((0.10, 2.6, 0.62), 0.15), lean, (x + 0.03 * np.sign(x), 0.30, -0.43)))
        solids.append(place(rounded_box((0.075, 0.15, 0.75), 0.3), lean, (x, 0.42, 0.06)))
        solids.append(
            place(
                rounded_box((0.10, 0.42, 0.72), 0.3), about((1, 0, 0), np.radians(-32)) @ lean, (x * 0.96, 1.42, 0.06)
            )
        )
        solids.append(
            place(rounded_box((0.09, 2.4, 0.07), 0.3), np.eye(3), (x * 0.97, 0.35, interior.roof_height - 0.045))
        )
    solids.append(place(rounded_box((1.9, 0.06, 0.40), 0.2), np.eye(3), (-0.37, 1.68, -0.33)))
    handle = capped(
        np.array(
            [
                [near - 0.10, 0.20, 0.155],
                [near - 0.12, 0.24, 0.13],
                [near - 0.12, 0.36, 0.13],
                [near - 0.10, 0.40, 0.155],
            ]
        ),
        0.011,
    )
    return join(*solids, handle)


def _roof(interior: Interior) -> Solid:
    x = np.linspace(-1.36, interior.wide + 0.06, 18)
    y = np.linspace(-0.10, 1.75, 14)
    u, v = np.meshgrid(x, y)
    middle = 0.5 * (x[0] + x[-1])
    z = (
        interior.roof_height
        - 0.05 * ((u - middle) / (x[-1] - middle)) ** 2
        - 0.10 * np.clip((v - 0.9) / 0.85, 0, 1) ** 2
    )
    sheet = grid(np.stack([u, v, z], axis=-1))
    visor = place(
        rounded_box((0.36, 0.02, 0.15), 0.3),
        about((1, 0, 0), np.radians(35)),
        (0.05, -0.22, interior.roof_height - 0.03),
    )
    return join(sheet, visor)
