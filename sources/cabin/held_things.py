"""What a raised hand holds: phones, food and drinks.

surfaces = held_thing(gesture, side, features)      # head coordinates
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sources.cabin.gesture import Features, Gesture
from sources.cabin.skeleton import about
from sources.cabin.surfaces import Material, Surface, capped, join, place, rounded_box

Floats = npt.NDArray[np.float64]


def held_thing(gesture: Gesture, s: float, f: Features) -> list[Surface]:
    """The held thing in head coordinates."""
    kind = gesture.kind
    if kind in ("call", "text"):
        return _phone(gesture, s, f)
    if kind == "burger":
        return _burger(f.mouth + np.array([s * 0.006, -0.030, -0.006]))
    if kind == "bar":
        path = f.mouth + np.linspace(0, 1, 6)[:, None] * np.array([s * 0.072, -0.062, -0.038])
        food = Material((0.16, 0.075, 0.03), 0.4, roughness=0.6)
        wrap = Material(gesture.colour, gesture.nir, roughness=0.3, specular=0.6)
        bite, rest = path[:3], path[2:]
        return [
            Surface(*capped(bite, 0.013, 10, flatten=1.5), material=food, label="object", name="bar"),
            Surface(*capped(rest, 0.0145, 10, flatten=1.5), material=wrap, label="object", name="wrapper"),
        ]
    if kind in ("cup", "bottle"):
        return _drink(gesture, s, f)
    return []


def _phone(gesture: Gesture, s: float, f: Features) -> list[Surface]:
    body = rounded_box((0.0085, 0.072, 0.150), 0.18, 20)
    glass = Material((0.012, 0.012, 0.014), 0.06, roughness=0.12, specular=0.5, clearcoat=0.6)
    case = Material(gesture.colour if gesture.style > 0.5 else (0.03, 0.03, 0.035), gesture.nir, roughness=0.4)
    if gesture.kind == "call":
        along_cheek = about((0, 0, 1), -s * np.radians(24))
        turn = along_cheek @ about((0, 1, 0), s * np.radians(5)) @ about((1, 0, 0), np.radians(-14))
        at = np.array([s * (f.ear_x + 0.010), -0.092, f.eyes["L"][2] - 0.032])
        screen_side = -s
    else:
        turn = (
            about((1, 0, 0), np.radians(14))
            @ about((0, 0, 1), -s * np.radians(66))
            @ about((0, 1, 0), s * np.radians(6))
        )
        at = np.array([s * 0.082, f.mouth[1] - 0.058, f.chin[2] + 0.018])
        screen_side = -s
    solid = place(body, turn, at)
    screen = place(
        rounded_box((0.001, 0.066, 0.142), 0.15, 12), turn, at + turn @ np.array([screen_side * 0.0043, 0, 0])
    )
    lens = place(
        rounded_box((0.002, 0.020, 0.026), 0.3, 8), turn, at + turn @ np.array([-screen_side * 0.0048, -0.020, 0.052])
    )
    return [
        Surface(*solid, material=case, label="object", name="phone"),
        Surface(*join(screen, lens), material=glass, label="object", name="phone_glass"),
    ]


def _burger(at: Floats) -> list[Surface]:
    layers = (
        ("bun_low", (0.086, 0.070, 0.020), -0.018, (0.52, 0.30, 0.12), 0.55, 0.55),
        ("patty", (0.084, 0.069, 0.013), -0.003, (0.10, 0.045, 0.02), 0.3, 0.5),
        ("salad", (0.094, 0.077, 0.005), 0.006, (0.20, 0.42, 0.07), 0.6, 0.5),
        ("tomato", (0.082, 0.068, 0.006), 0.011, (0.55, 0.05, 0.03), 0.6, 0.5),
        ("bun_top", (0.088, 0.072, 0.036), 0.027, (0.50, 0.27, 0.09), 0.55, 0.8),
    )  # fmt: skip
    return [
        Surface(
            *place(rounded_box(size, roundness, 14), np.eye(3), at + np.array([0, -0.012, z])),
            material=Material(colour, nir, roughness=0.5),
            label="object",
            name=name,
        )
        for name, size, z, colour, nir, roundness in layers
    ]


def _drink(gesture: Gesture, s: float, f: Features) -> list[Surface]:
    """A cup or bottle whose rim is at the lips, tilted."""
    tilt = np.radians(38 if gesture.kind == "cup" else 62)
    axis = about((0, 0, 1), s * np.radians(12)) @ np.array([0.0, -np.sin(tilt), -np.cos(tilt)])
    lip = f.mouth + np.array([0.0, -0.004, -0.002])
    main = Material(gesture.colour, gesture.nir, roughness=0.35, specular=0.5)
    if gesture.kind == "cup":
        across = np.cross(axis, [1.0, 0.0, 0.0])
        start = lip + 0.036 * across / np.linalg.norm(across) * np.sign(-across[1] + 1e-9)
        path = start + np.linspace(0, 0.105, 8)[:, None] * axis
        body = capped(path, np.linspace(0.040, 0.029, 8), 22)
        lid = capped(path[:2] + np.array([-0.004 * axis, -0.010 * axis]), 0.0415, 22)
        sleeve = capped(path[2:6], np.linspace(0.0385, 0.0345, 4), 22)
        white = Material((0.75, 0.74, 0.72), 0.65, roughness=0.4)
        return [
            Surface(*body, material=white, label="object", name="cup"),
            Surface(*sleeve, material=main, label="object", name="sleeve"),
            Surface(*lid, material=Material((0.05, 0.05, 0.05), 0.3, roughness=0.3), label="object", name="lid"),
        ]  # fmt: skip
    path = lip + np.linspace(0, 0.215, 12)[:, None] * axis
    radius = np.interp(np.linspace(0, 1, 12), [0, 0.14, 0.32, 0.42, 1.0], [0.013, 0.013, 0.026, 0.031, 0.031])
    label = capped(path[6:10], 0.0318, 20)
    clear = Material(tuple(0.35 + 0.5 * c for c in gesture.colour), 0.5, roughness=0.1, specular=0.7, clearcoat=0.8)  # type: ignore[arg-type]
    return [
        Surface(*capped(path, radius, 20), material=clear, label="object", name="bottle"),
        Surface(*label, material=main, label="object", name="bottle_label"),
    ]
