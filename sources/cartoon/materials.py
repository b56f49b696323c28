"""What the surfaces of the cabin look like: paint in head coordinates, light, and the view out of the windows.

Colours are linear radiance, three tensors [B, P]. Eyes, brows, lips, lines and shade are painted on the
head where they lie in head coordinates, so that they stay sharp at 64 pixels.
"""

from __future__ import annotations

import torch

from sources.cartoon.scene import EYE_HALF_WIDTH, EYE_X, EYE_Y, MOUTH_Y, PARTS, Scene, part_distances, to_head
from sources.cartoon.sdf import T, smoothstep

Colour = tuple[T, T, T]


def mix(a: Colour, b: Colour, amount: T) -> Colour:
    return (a[0] + (b[0] - a[0]) * amount, a[1] + (b[1] - a[1]) * amount, a[2] + (b[2] - a[2]) * amount)


def scale(a: Colour, amount: T | float) -> Colour:
    return (a[0] * amount, a[1] * amount, a[2] * amount)


def named(s: Scene, name: str) -> Colour:
    return (s[f"{name}_r"], s[f"{name}_g"], s[f"{name}_b"])


def constant(like: T, r: float, g: float, b: float) -> Colour:
    return (torch.full_like(like, r), torch.full_like(like, g), torch.full_like(like, b))


def bump(x: T, width: float) -> T:
    """A bell of height 1 at 0 that falls to 0.37 at `width`."""
    return torch.exp(-((x / width) ** 2))


def surface(s: Scene, x: T, y: T, z: T) -> tuple[Colour, T]:
    """Albedo and gloss of the nearest part at a hit point [B, P]."""
    parts = part_distances(s, x, y, z)
    best, index = parts[0], torch.zeros_like(x)
    for i, part in enumerate(parts[1:], start=1):
        closer = part < best
        index = torch.where(closer, float(i), index)
        best = torch.minimum(best, part)
    hx, hy, hz = to_head(s, x, y, z)
    skin, skin_gloss = _skin(s, hx, hy, hz)
    colours: dict[str, Colour] = {
        "skin": skin,
        "hair": scale(named(s, "hair"), 0.88 + 0.12 * torch.sin(hx * 43.0 + 4.0 * torch.sin(hy * 4.0 + hx * 3.0))),
        "cloth": _cloth(s, x, y, z),
        "seat": named(s, "seat"),
        "frame": named(s, "frame"),
        "lens": constant(x, 0.008, 0.008, 0.010),
        "mask": scale(named(s, "mask"), 1.0 - 0.18 * _pleats(hy)),
        "hat": named(s, "hat"),
        "phone": _phone_paint(s, hx, hy, hz),
        "food": _food_paint(hx, hy),
    }
    gloss_of = {"lens": 0.4, "phone": 0.4, "frame": 0.35, "hair": 0.10, "hat": 0.03, "seat": 0.05}
    albedo, gloss = skin, skin_gloss
    for i, name in enumerate(PARTS[1:], start=1):
        here = (index == float(i)).to(x.dtype)
        albedo = mix(albedo, colours[name], here)
        gloss = gloss + (gloss_of.get(name, 0.02) - gloss) * here
    return albedo, gloss


def _skin(s: Scene, x: T, y: T, z: T) -> tuple[Colour, T]:
    """The face: skin, age, beard, lips, brows, eyes; albedo and gloss."""
    base = named(s, "skin")
    front = smoothstep(0.05, 0.30, z)
    ax = x.abs()
    colour = scale(base, 1.0 - 0.55 * _lines(s, ax, y) * front)
    blush = bump(torch.sqrt((ax - 0.40) ** 2 + (y + 0.16) ** 2), 0.2) * front
    colour = mix(colour, (colour[0] * 1.02, colour[1] * 0.82, colour[2] * 0.80), 0.6 * blush)
    shade = bump((ax - EYE_X) * 0.9, 0.17) * bump(y - EYE_Y + 0.205 - 0.25 * (ax - EYE_X) ** 2, 0.090)
    shade = shade * front * s["fatigue"]
    colour = mix(colour, (colour[0] * 0.36, colour[1] * 0.22, colour[2] * 0.36), 0.95 * shade)
    colour = _beard(s, colour, ax, y, front)
    nostril = bump(torch.sqrt((ax - 0.065) ** 2 + (y + 0.265) ** 2), 0.035) * smoothstep(0.55, 0.65, z)
    colour = scale(colour, 1.0 - 0.75 * nostril)
    colour = _lips(s, colour, ax, y, front)
    colour = _brows(s, colour, ax, y, front)
    return _eyes(s, colour, x, ax, y, front)


def _lines(s: Scene, ax: T, y: T) -> T:
    """Wrinkles: forehead, crow's feet, from nose to mouth; none when young. Each is about a pixel wide at 64 pixels,
    so that age is told under a hat and by infrared, where no grey hair shows."""
    arch = y + 0.25 * ax * ax
    forehead = (bump(arch - 0.50, 0.030) + bump(arch - 0.63, 0.030)) * smoothstep(0.46, 0.25, ax)
    along = smoothstep(0.47, 0.52, ax) * smoothstep(0.68, 0.61, ax)
    feet = along * (bump(y - 0.15 - 0.5 * (ax - 0.5), 0.026) + bump(y - 0.04 + 0.5 * (ax - 0.5), 0.026))
    fold_x = 0.15 + 0.32 * (-0.20 - y).clamp(min=0.0)
    fold = bump(ax - fold_x, 0.040) * smoothstep(-0.62, -0.50, y) * smoothstep(-0.16, -0.24, y)
    return ((forehead + feet + 1.2 * fold) * (s["age"] * 1.2 - 0.1).clamp(min=0.0)).clamp(max=1.0)


def _beard(s: Scene, colour: Colour, ax: T, y: T, front: T) -> Colour:
    jaw = smoothstep(-0.22, -0.40, y + 0.55 * (0.5 - ax).clamp(min=0.0) * smoothstep(-0.42, -0.3, y))
    moustache = smoothstep(0.30, 0.24, ax) * smoothstep(-0.30, -0.35, y)
    sides = smoothstep(0.46, 0.56, ax) * smoothstep(0.05, -0.1, y)
    region = torch.maximum(torch.maximum(jaw, moustache), sides) * smoothstep(-0.2, 0.0, front - 0.15)
    return mix(colour, scale(named(s, "hair"), 0.9), region * s["beard"])


def _lips(s: Scene, colour: Colour, ax: T, y: T, front: T) -> Colour:
    centre = MOUTH_Y - 0.06 * s["mouth"]
    half = 0.245 - 0.045 * s["mouth"]
    across = (1.0 - (ax / half) ** 2).clamp(min=0.0)
    droop = 0.10 * s["fatigue"] * (ax / half) ** 2
    v = y - centre + droop
    gap = (0.010 + 0.165 * s["mouth"]) * across
    full = 0.062 * s["lip_full"] * torch.sqrt(across + 1e-6)
    inside = smoothstep(0.012, -0.012, v.abs() - gap) * smoothstep(0.0, 0.05, across)
    lip = smoothstep(0.014, -0.014, v.abs() - gap - full) * smoothstep(0.0, 0.06, across)
    red = (colour[0] * 0.86 + 0.02, colour[1] * (0.42 + 0.16 * s["male"]), colour[2] * (0.48 + 0.14 * s["male"]))
    colour = mix(colour, red, 0.85 * lip * front)
    teeth = smoothstep(0.35, 0.62, v / (gap + 1e-3)) * smoothstep(0.15, 0.4, s["mouth"]) * smoothstep(0.2, 0.5, across)
    dark = constant(ax, 0.030, 0.006, 0.006)
    colour = mix(colour, dark, inside * front)
    return mix(colour, constant(ax, 0.62, 0.58, 0.50), inside * teeth * front)


def _brows(s: Scene, colour: Colour, ax: T, y: T, front: T) -> Colour:
    """Tired brows rise at the nose and fall at the temples."""
    u = (ax - EYE_X) / 0.215
    tired = s["fatigue"]
    height = 0.335 + s["brow_height"] + s["brow_noise"] - 0.045 * u * u - 0.115 * tired * u - 0.02 * tired
    thick = s["brow_thick"] * (1.0 - 0.35 * u.clamp(min=0.0))
    region = smoothstep(0.018, -0.012, (y - height).abs() - thick) * smoothstep(1.08, 0.92, u.abs())
    return mix(colour, scale(named(s, "hair"), 0.8), 0.92 * region * front)


def _eyes(s: Scene, colour: Colour, x: T, ax: T, y: T, front: T) -> tuple[Colour, T]:
    """Lids that close by eye openness over an eyeball whose iris follows the gaze."""
    u = (ax - EYE_X) / EYE_HALF_WIDTH
    v = (y - EYE_Y) / EYE_HALF_WIDTH
    arch = (1.0 - u * u).clamp(min=0.0)
    lower = -0.36 * arch * (0.75 + 0.25 * s["lids"]) - 0.04
    upper = lower + (0.36 + 0.76 * torch.sqrt(arch + 1e-6)) * torch.sqrt(arch + 1e-6) * s["lids"]
    edge = 0.09
    corner = smoothstep(1.0, 0.90, u.abs()) * front
    opened = smoothstep(-edge, edge, upper - v) * smoothstep(-edge, edge, v - lower) * corner
    opened = opened * smoothstep(0.01, 0.10, s["lids"])
    lid = smoothstep(0.10, -0.06, (v - 0.12).abs() - 0.55) * smoothstep(1.25, 0.95, u.abs()) * front
    colour = scale(colour, 1.0 - 0.13 * lid)
    crease = bump(v - upper - 0.26 - 0.10 * s["lids"], 0.07) * smoothstep(1.15, 0.9, u.abs()) * front
    colour = scale(colour, 1.0 - 0.45 * crease)

    red = 0.45 * s["fatigue"]
    under_lid = 0.62 + 0.38 * smoothstep(-0.1, 0.5, upper - v)
    white = (0.74 * under_lid, (0.72 - 0.22 * red) * under_lid, (0.70 - 0.24 * red) * under_lid)
    centre_x = torch.sign(x) * EYE_X + 0.20 * s["gaze_x"]
    centre_y = EYE_Y + 0.02 + 0.20 * s["gaze_y"]
    r = torch.sqrt((x - centre_x) ** 2 + (y - centre_y) ** 2 + 1e-9)
    iris = smoothstep(0.092, 0.076, r)
    pupil = smoothstep(0.044, 0.030, r)
    eye = mix(white, scale(named(s, "iris"), 0.65 + 0.5 * smoothstep(0.02, 0.08, r)), iris)
    infrared = s["infrared"]
    eye = mix(eye, constant(x, 0.004, 0.004, 0.004), pupil)
    glint = smoothstep(
        0.026, 0.012, torch.sqrt((x - centre_x + 0.030 * (1 - infrared)) ** 2 + (y - centre_y - 0.030) ** 2)
    )
    eye = mix(eye, constant(x, 1.5, 1.5, 1.5), 0.85 * glint)
    colour = mix(colour, eye, opened)

    line = torch.maximum(upper, lower)
    lash = smoothstep(0.085, 0.02, (v - line).abs()) * smoothstep(1.10, 0.95, u.abs()) * front
    below = 0.35 * smoothstep(0.06, 0.01, (v - lower).abs()) * smoothstep(1.0, 0.9, u.abs()) * front
    ink = torch.maximum(lash * (0.92 - 0.10 * s["male"]), below)
    colour = mix(colour, constant(x, 0.012, 0.009, 0.008), ink)
    gloss = 0.06 * (1.0 - opened) + 0.10 * opened
    return colour, gloss


def _pleats(y: T) -> T:
    return bump(y + 0.30, 0.018) + bump(y + 0.42, 0.018) + bump(y + 0.54, 0.018)


def _cloth(s: Scene, x: T, y: T, z: T) -> Colour:
    """Clothes with a seat belt over the shoulder."""
    belt = smoothstep(0.11, 0.09, (x * 0.55 + (y + 1.55) * 0.83 + 0.15).abs()) * smoothstep(-0.25, -0.1, z + 0.1)
    return mix(named(s, "cloth"), constant(x, 0.03, 0.03, 0.033), belt * (y < -1.0))


def _phone_paint(s: Scene, hx: T, hy: T, hz: T) -> Colour:
    """Dark glass towards the head, a lighter shell with a camera spot outwards."""
    outer = smoothstep(0.84, 0.86, hx * s["arm_side"])
    shell = mix(constant(hx, 0.012, 0.012, 0.015), constant(hx, 0.22, 0.24, 0.28), outer)
    return mix(
        shell, constant(hx, 0.01, 0.01, 0.01), outer * bump(torch.sqrt((hy - 0.12) ** 2 + (hz - 0.24) ** 2), 0.05)
    )


def _food_paint(hx: T, hy: T) -> Colour:
    """Bread, with green and red between its halves."""
    v = hy - MOUTH_Y - 0.02
    wave = 0.015 * torch.sin(hx * 40.0)
    bread = constant(hx, 0.52, 0.27, 0.08)
    green = smoothstep(0.045, 0.03, (v + 0.035 + wave).abs())
    red = smoothstep(0.035, 0.02, (v - 0.025 - wave).abs())
    return mix(mix(bread, constant(hx, 0.10, 0.35, 0.04), green), constant(hx, 0.50, 0.05, 0.03), red)


def outside(s: Scene, u: T, v: T) -> Colour:
    """What a ray that hits nothing sees at picture coordinates u, v in [-1, 1]: liner, pillars, windows."""
    wall = mix(constant(u, 0.055, 0.052, 0.050), constant(u, 0.16, 0.155, 0.15), smoothstep(0.72, 0.95, v + 0.10 * u))
    sky = (s["sky_r"] + s["sky_g"] + s["sky_b"]) / 3.0
    wall = scale(wall, 0.9 * sky + 0.16 * s["lamp"] + 0.25 * s["rim_light"] * 0.3)
    tint = torch.where(s["tunnel"] > 0.5, 0.75, 1.0)
    wall = (wall[0] * (2.0 - tint), wall[1], wall[2] * tint * tint)
    side = smoothstep(-0.36, -0.40, u - 0.14 * v) * smoothstep(-0.30, -0.26, v) * smoothstep(0.86, 0.80, v)
    rear = smoothstep(0.42, 0.45, u + 0.10 * v) * smoothstep(-0.05, -0.01, v) * smoothstep(0.70, 0.65, v)
    view = _view(s, u, v)
    wall = mix(wall, scale(view, s["window"]), side)
    return mix(wall, scale(view, s["rear"]), rear)


def _view(s: Scene, u: T, v: T) -> Colour:
    """Sky over a blurred landscape; in a tunnel a wall with a row of lamps; at night almost nothing."""
    sky = mix(constant(u, 0.95, 1.0, 1.0), constant(u, 0.45, 0.68, 1.0), smoothstep(0.1, 1.0, v))
    bushes = 0.06 * torch.sin(u * 9.0 + s["scenery"]) + 0.04 * torch.sin(u * 23.0 + 2.0 * s["scenery"])
    land = mix(constant(u, 0.20, 0.26, 0.10), constant(u, 0.30, 0.29, 0.28), smoothstep(-0.05, -0.2, v - s["horizon"]))
    day = mix(land, sky, smoothstep(-0.04, 0.04, v - s["horizon"] - bushes))
    lamp = smoothstep(0.10, 0.05, (v - 0.52 - 0.06 * u).abs()) * smoothstep(
        -0.2, 0.5, torch.sin(u * 13.0 + s["scenery"])
    )
    wall = mix(constant(u, 0.9, 0.45, 0.12), constant(u, 26.0, 17.0, 8.0), lamp)
    return mix(day, wall, s["tunnel"])


def shade(
    s: Scene, hit: T, x: T, y: T, z: T, normal: Colour, ray: Colour, shadow: T, open_sky: T, u: T, v: T
) -> Colour:
    """Radiance of each ray [B, P]: sun with shadow, sky with occlusion, rim light, the infrared lamp."""
    albedo, gloss = surface(s, x, y, z)
    nx, ny, nz = normal
    sun = (nx * s["sun_x"] + ny * s["sun_y"] + nz * s["sun_z"] + 0.18) / 1.18
    sun = sun.clamp(min=0.0) * shadow
    up = (0.68 + 0.32 * ny) * open_sky
    facing = (-(nx * ray[0] + ny * ray[1] + nz * ray[2])).clamp(min=0.0)
    edge = (1.0 - facing) ** 3 * s["rim_light"] * smoothstep(-0.3, 0.6, nx.abs() + 0.5 * ny)
    lamp = s["lamp"] * (0.25 + 0.75 * facing) * (5.0 / (s["camera_z"] - z)) ** 4 * (0.4 + 0.6 * open_sky)
    half_x, half_y, half_z = s["sun_x"] - ray[0], s["sun_y"] - ray[1], s["sun_z"] - ray[2]
    norm = torch.rsqrt(half_x**2 + half_y**2 + half_z**2 + 1e-9)
    shine = ((nx * half_x + ny * half_y + nz * half_z) * norm).clamp(0.0, 1.0) ** 24 * gloss * shadow
    mirror = gloss * gloss * (0.30 * smoothstep(0.2, 0.9, ny + 0.4 * nz) + 0.02)
    lit = []
    for c, channel in enumerate("rgb"):
        light = sun * s[f"sun_{channel}"] + up * s[f"sky_{channel}"] + lamp
        lit.append(
            albedo[c] * light
            + (shine + 0.3 * edge) * s[f"sun_{channel}"]
            + 0.35 * edge * albedo[c]
            + mirror * s[f"sky_{channel}"]
        )
    colour: Colour = (lit[0], lit[1], lit[2])
    colour = mix(outside(s, u, v), colour, hit)
    colour = _clear_lens(s, colour, x, y, z)
    bright = s["veil"]
    colour = (colour[0] + bright, colour[1] + bright, colour[2] + bright)
    grey = 0.40 * colour[0] + 0.35 * colour[1] + 0.25 * colour[2]
    return mix(colour, (grey, grey, grey), s["infrared"])


def _clear_lens(s: Scene, colour: Colour, x: T, y: T, z: T) -> Colour:
    """Clear glasses: a faint tint and one diagonal streak of reflected light on each lens."""
    hx, hy, hz = to_head(s, x, y, z)
    u, v = hx.abs() - EYE_X, hy - EYE_Y
    inside = smoothstep(1.0, 0.9, torch.maximum(u.abs() / s["lens_x"], v.abs() / s["lens_y"])) * smoothstep(
        0.35, 0.45, hz
    )
    streak = bump(hx - torch.sign(hx) * EYE_X - 0.8 * v - 0.17, 0.035) * inside * s["clear_lens"]
    level = 0.22 * (s["sky_g"] + 0.2 * s["sun_g"] + 0.5 * s["lamp"])
    return (colour[0] + streak * level, colour[1] + streak * level, colour[2] + streak * level)
