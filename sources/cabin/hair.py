"""Hair of the head: styles as a length, a direction field and a volume, grown strand by strand over the skull.

    strands = hair(scalp, wig)

A strand follows the style's flow, falls by its own weight, lies on the skull with a clearance that differs from
strand to strand (so that hair has depth, not a rim), and never crosses the face.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sources.cabin.layout import EYE, azimuth
from sources.cabin.scalp import Roots, Scalp
from sources.cabin.streams import HAIR
from sources.cabin.surfaces import Strands
from sources.cabin.wig import Wig

Floats = npt.NDArray[np.float64]

POINTS = 9
STRANDS = 4400
DOWN, BACK = np.array([0.0, 0.0, -1.0]), np.array([0.0, 1.0, 0.0])

REACH = {"medium": 0.11, "bob": 0.17, "fringe": 0.22, "long": 0.30, "wavy": 0.28, "big": 0.20}
"""Metres of the shortest hair of the styles that hang."""


def hair(scalp: Scalp, wig: Wig, hat_line: float | None = None) -> list[Strands]:
    """Strands of a person's hair; `hat_line` is the template height above which a hat lies on it."""
    own = np.random.Generator(np.random.Philox(key=list(wig.seed), counter=[0, 0, HAIR, 1]))
    roots = scalp.roots(lambda p: _density(scalp, wig, p), STRANDS, own)
    points, width = _style(scalp, wig, roots, own)
    if wig.style in ("tail", "bun"):
        parts = (points, width), _tied(scalp, wig, own), _loose(scalp, wig, own)
        points, width = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    other = own.random(len(points)) < (wig.grey if 0.1 < wig.grey < 0.8 else 0.22)
    if hat_line is not None:
        points, other, width = _under_hat(scalp, points, other, width, hat_line)
    points, kept = _off_the_face(scalp, points)
    points, other, width = points[kept], other[kept], width[kept]
    taper = np.linspace(1.0, 0.40, POINTS)
    radius = width[:, None] * taper
    main, rest = wig.materials()
    sets = (("hair", ~other, main), ("hair_other", other, rest))
    return [Strands(points[mask], radius[mask], material, name=name) for name, mask, material in sets if mask.sum() > 4]


def _density(scalp: Scalp, wig: Wig, points: Floats) -> Floats:
    above = scalp.layout.hair(points, wig.recede)
    density = np.clip(0.5 + above / 0.006, 0.0, 1.0)
    ears = (np.abs(points[..., 0]) > 0.0755) & (points[..., 2] < 0.912)
    density = np.where(ears, 0.0, density)
    if wig.style == "ring":  # a bald crown
        crown = (points[..., 2] > 0.962) | ((azimuth(points) < 75) & (points[..., 2] > 0.925))
        density = np.where(crown, 0.02 * (azimuth(points) > 60), density)
    return density


@dataclass(frozen=True)
class _Places:
    """Where each of the roots lies on the head, and what is drawn for each strand."""

    template: Floats
    front: Floats
    top: Floats
    outward: Floats
    """Away from the parting"""
    jitter: Floats
    random: Floats
    layer: Floats
    """From the lowest layer, 0, to the outermost"""

    @staticmethod
    def of(roots: Roots, wig: Wig, own: np.random.Generator) -> _Places:
        n, t = len(roots), roots.template
        front = np.exp(-((azimuth(t) / 48.0) ** 2)) * np.clip((t[:, 2] - 0.945) / 0.02, 0, 1)
        top = np.clip((t[:, 2] - 0.955) / 0.035, 0, 1)
        side = np.sign(t[:, 0] - wig.parting + 0.004 * own.standard_normal(n))
        outward = np.stack([side, np.zeros(n), np.zeros(n)], axis=1)
        jitter, random = own.standard_normal((n, 3)), 0.75 + 0.5 * own.random(n)
        return _Places(t, front, top, outward, jitter, random, own.random(n) ** 1.3)


@dataclass(frozen=True)
class _Look:
    """A style on one head: metres, and shares of a strand's own direction."""

    length: Floats
    flow: Floats
    volume: float | Floats
    lift: float | Floats = 0.25
    width: float = 0.00042
    weight: float = 0.16
    curl: float = 0.0
    swirl: float = 0.25


def _style(scalp: Scalp, wig: Wig, roots: Roots, own: np.random.Generator) -> tuple[Floats, Floats]:
    """Points [N, POINTS, 3] and radii [N] of all strands from the scalp."""
    at = _Places.of(roots, wig, own)
    if wig.style in ("tail", "bun"):
        return _combed_to_knot(scalp, wig, roots, own), np.full(len(roots), _Look.width)
    look = _long_look(wig, at, own) if wig.style in REACH else _short_look(wig, at)
    radial = _unit(roots.at - scalp.centre)
    first = _unit(np.asarray(look.lift).reshape(-1, 1) * radial + look.flow + 0.12 * look.swirl * at.jitter)
    cling = 0.0 if wig.style in ("afro", "curls", "big") else 0.22 if look.weight > 0.3 else 0.5
    volume = look.volume * (0.25 + at.layer)
    growth = _Growth(look.flow, look.length, look.weight, look.curl, look.swirl, volume, cling, own)
    return _grow(scalp, roots, first, growth), np.full(len(roots), look.width) * np.where(at.layer > 0.9, 0.8, 1.0)


def _short_look(wig: Wig, at: _Places) -> _Look:
    """Hair that doesn't hang."""
    top, front, outward = at.top[:, None], at.front[:, None], at.outward
    volume = 0.006 * wig.volume
    if wig.style in ("buzz", "ring"):
        length = (0.007 if wig.style == "buzz" else 0.016) * at.random
        return _Look(length, 0.3 * DOWN + 0.3 * BACK + 0 * at.jitter, volume, lift=1.0, width=0.00034)
    if wig.style == "afro":
        length = (0.018 + 0.030 * wig.length) * at.random
        return _Look(length, 0 * at.jitter, volume, lift=1.6, swirl=0.9, curl=1.0, weight=0.0, width=0.00040)
    if wig.style == "curls":
        length = (0.045 + 0.025 * wig.length) * at.random * (0.55 + 0.45 * at.top)
        flow = 0.7 * outward * top - 0.35 * BACK * front + 0.5 * DOWN * (1 - top)
        return _Look(length, flow, 0.011 * wig.volume, lift=0.8, swirl=0.7, curl=0.8)
    if wig.style == "crop":
        length = (0.018 + 0.016 * wig.length) * at.random * (0.5 + 0.5 * at.top)
        return _Look(length, -0.8 * BACK * top + 0.35 * outward * top + 0.6 * DOWN, volume, lift=0.45)
    if wig.style == "pixie":
        length = (0.045 + 0.025 * wig.length) * at.random * (0.65 + 0.35 * at.top)
        flow = 0.9 * outward * top - 0.65 * BACK * front + 0.7 * DOWN * (1 - 0.6 * top)
        return _Look(length, flow, 0.010 * wig.volume)
    if wig.style == "side":
        length = (0.040 + 0.030 * wig.length) * at.random * (0.40 + 0.60 * at.top)
        flow = 1.1 * outward * top - 0.15 * BACK * front + 0.7 * DOWN * (1 - top) + 0.15 * BACK
        return _Look(length, flow, (0.007 + 0.006 * at.front) * wig.volume, lift=0.35 + 0.5 * at.front)
    if wig.style == "quiff":
        length = (0.038 + 0.022 * wig.length) * at.random * (0.30 + 0.70 * at.top)
        flow = 0.9 * BACK * top + 0.25 * outward * top + 0.6 * DOWN * (1 - top)
        return _Look(length, flow, (0.006 + 0.016 * at.front) * wig.volume, lift=0.4 + 1.3 * at.front)
    if wig.style == "slick":
        length = (0.050 + 0.04 * wig.length) * at.random * (0.5 + 0.5 * at.top)
        return _Look(length, 1.0 * BACK + 0.25 * DOWN * (1 - top), volume)
    raise ValueError(f"hair of the style {wig.style!r}")


def _long_look(wig: Wig, at: _Places, own: np.random.Generator) -> _Look:
    """Hair that hangs under its own weight, perhaps with bangs."""
    style, t = wig.style, at.template
    reach = REACH[style] + {"medium": 0.03, "bob": 0.03}.get(style, 0.07) * wig.length
    length = reach * (0.9 + 0.2 * own.random(len(t))) * (0.62 + 0.38 * np.clip((t[:, 2] - 0.90) / 0.08, 0, 1))
    flow = (1.25 * at.outward + 0.30 * BACK) * at.top[:, None] + 0.25 * BACK * at.front[:, None] + 0.5 * DOWN
    volume = (0.013 + 0.006 * at.top) * wig.volume * (0.7 + 0.6 * _locks(t, own))
    curl = {"wavy": 0.35 + 0.25 * wig.curl, "big": 0.9, "medium": 0.15}.get(style, 0.06)
    if style == "big":
        return _Look(length, flow, 0.034 * wig.volume, 0.9, 0.00052, weight=0.30, curl=curl, swirl=0.7)
    if style == "fringe" or (style == "bob" and wig.curl > 0.55):
        bangs = (azimuth(t) < 42) & (t[:, 2] > 0.950) & (t[:, 2] < 0.995)
        flow = np.where(bangs[:, None], -1.0 * BACK + 0.45 * DOWN + 0.25 * at.outward, flow)
        length = np.where(bangs, 0.052 + 0.35 * np.maximum(t[:, 2] - 0.967, 0), length)
        volume = np.where(bangs, 0.007, volume)
    return _Look(length, flow, volume, 0.25, 0.00052, weight=0.42, curl=curl)


@dataclass(frozen=True)
class _Growth:
    flow: Floats
    length: Floats
    weight: float
    curl: float
    swirl: float
    volume: Floats
    cling: float
    """How strongly strands come back to the skull"""
    own: np.random.Generator


def _grow(scalp: Scalp, roots: Roots, first: Floats, g: _Growth) -> Floats:
    n = len(roots)
    point, direction = roots.at - 0.001 * roots.normal, first
    phase, turns = g.own.random((n, 1)) * 2 * np.pi, 1.2 + 0.8 * g.own.random((n, 1))
    clump = 0.5 * g.own.standard_normal((n, 3))
    points = [point]
    step = (g.length / (POINTS - 1))[:, None]
    for k in range(1, POINTS):
        share = k / (POINTS - 1)
        wave = phase + 2 * np.pi * turns * share * (1.0 + 2.0 * g.curl)
        ring = np.concatenate([np.cos(wave), np.sin(wave), 0.5 * np.sin(wave + 1.0)], axis=1)
        below = np.clip((scalp.centre[2] + 0.02 - point[:, 2:]) / 0.05, 0, 1)
        pull = np.array([0.0, 0.0, -1.0]) * g.weight * (0.6 + 1.6 * below + 0.8 * share)
        heavy = g.weight > 0.3
        memory = 0.75 if heavy else 1.0
        fade = (1 - 0.95 * below) * (1 - 0.6 * share) if heavy else 1.0
        wanted = memory * direction + 0.55 * g.flow * fade + pull
        wanted = wanted + g.curl * 1.1 * ring + 0.16 * g.swirl * clump
        away, skin = scalp.reach(point)
        outward = _unit(point - scalp.centre)
        loose = np.clip((away - skin - 0.002 - g.volume) / 0.008, 0, 1)[:, None]
        direction = _unit(wanted - g.cling * loose * outward)
        inward = np.minimum((direction * outward).sum(axis=1, keepdims=True), 0.0)
        near = np.clip(1.0 - (away - skin - g.volume) / 0.012, 0, 1)[:, None]
        direction = _unit(direction - near * inward * outward)
        point = point + step * direction
        high = np.clip((point[:, 2] - scalp.centre[2] + 0.09) / 0.05, 0.0, 1.0)
        clearance = 0.0012 + g.volume * np.minimum(1.0, 2.2 * share)
        pushed = scalp.push_out(point, clearance)
        point = np.where(high[:, None] > 0, point + (pushed - point) * high[:, None], point)
        points.append(point)
    return np.stack(points, axis=1)


def _off_the_face(scalp: Scalp, points: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """(strands led past the face, which to keep): a fringe ends above the eyes, what would cross them is left out."""
    moved = points - scalp.shift
    x, y, z = np.abs(moved[..., 0]), moved[..., 1], moved[..., 2]
    half = np.interp(z, [0.76, 0.80, 0.84, 0.88, 0.91, 0.935, 0.955], [0.054, 0.062, 0.068, 0.071, 0.070, 0.060, 0.0])
    ahead = np.clip((-0.045 - y) / 0.03, 0, 1)
    intruding = np.maximum(half - x, 0.0) * ahead
    fringe = (x < 0.054) & (y < -0.120) & (z > EYE[2] + 0.022)
    intruding = np.where(fringe, 0.0, intruding)
    low = (x < 0.056) & (y < -0.110) & (z <= EYE[2] + 0.022)  # the face itself, below the brows
    before = np.logical_and.accumulate(~low, axis=1)
    bangs = fringe.any(axis=1)
    aside = np.where(bangs[:, None], 0.0, np.maximum.accumulate(intruding, axis=1))
    result = points.copy()
    result[..., 0] += np.sign(moved[:, :1, 0] + 1e-9) * aside
    last = np.maximum(before.sum(axis=1) - 1, 0)
    stop = np.where(bangs & low.any(axis=1), last, POINTS - 1)
    index = np.minimum(np.arange(POINTS)[None, :], stop[:, None])
    frozen = np.take_along_axis(result, index[..., None], axis=1)
    kept = (aside.max(axis=1) < 0.016) & (stop > 1)
    return frozen + 1e-6 * np.arange(POINTS)[None, :, None], kept  # no two points of a strand coincide


def _knot(scalp: Scalp, wig: Wig) -> Floats:
    """Where hair is tied, on the back of the head or on top."""
    high = wig.length > 0.5
    at = np.array([0.0, 0.040, 0.985] if high else [0.0, 0.062, 0.915])
    return np.asarray(scalp.push_out((at + scalp.shift)[None], 0.004)[0])


def _combed_to_knot(scalp: Scalp, wig: Wig, roots: Roots, own: np.random.Generator) -> Floats:
    """Strands drawn over the skull from their roots to the knot, loosely: full on top and at the sides."""
    knot = _knot(scalp, wig)
    share = np.linspace(0.0, 1.0, POINTS)[None, :, None]
    ends = knot + 0.010 * own.standard_normal((len(roots), 1, 3))
    line = roots.at[:, None] * (1 - share) + ends * share
    line[..., 2] += 0.006 * np.sin(np.pi * share[..., 0])
    full = 0.006 + 0.010 * _locks(roots.template, own)
    clearance = 0.0012 + full[:, None] * wig.volume * (0.45 + 0.55 * own.random((len(roots), 1))) * np.sin(
        np.pi * np.minimum(0.12 + 1.1 * share[..., 0], 1.0)
    )
    tight = scalp.push_out(line, clearance)
    tight[:, 0] = roots.at
    return tight


def _tied(scalp: Scalp, wig: Wig, own: np.random.Generator) -> tuple[Floats, Floats]:
    """The tail (over one shoulder) or the bun at the knot."""
    knot, high = _knot(scalp, wig), wig.length > 0.5
    share = np.linspace(0.0, 1.0, POINTS)[None, :, None]
    if wig.style == "bun":
        n, size = 420, 0.030 + 0.010 * wig.volume
        middle = knot + size * 0.75 * _unit((knot - scalp.centre)[None])[0]
        axis = _unit(own.standard_normal((n, 3)))
        one = _unit(np.cross(axis, _unit(own.standard_normal((n, 3)))))
        two = np.cross(axis, one)
        angle = 2.6 * np.pi * share * 0.5 + own.random((n, 1, 1)) * 6.28
        ball = np.cos(angle) * one[:, None] + np.sin(angle) * two[:, None]
        return middle + size * (0.86 + 0.14 * own.random((n, 1, 1))) * ball, np.full(n, 0.0011)
    n = 560
    side = 1.0 if wig.parting >= 0 else -1.0
    fan = own.standard_normal((n, 1, 3))
    start = knot + 0.006 * fan
    out = np.array([0.035 * side, 0.050, 0.035 if high else -0.01])
    end = np.array([side * (0.104 + 0.01 * wig.curl), -0.085, -0.29 if high else -0.22])
    fall = end * np.concatenate([share**0.7, share**1.2, share**1.5], axis=2)
    path = start + out * np.sin(np.pi * np.minimum(share * 1.2, 1.0)) + fall
    wave = 0.010 * wig.curl * np.sin(9 * share + own.random((n, 1, 1)) * 1.5)
    return path + 0.017 * fan * np.sin(np.pi * share * 0.75) + wave, np.full(n, 0.0008)


def _loose(scalp: Scalp, wig: Wig, own: np.random.Generator) -> tuple[Floats, Floats]:
    """Strands at the temples that no knot holds: they fall past the cheeks and frame the face."""
    full = own.random()

    def density(points: Floats) -> Floats:
        degrees, above = azimuth(points), scalp.layout.hair(points)
        return np.where((degrees > 44) & (degrees < 84) & (above > -0.001) & (above < 0.013), 1.0, 0.0)

    roots = scalp.roots(density, int(140 + 140 * full), own)
    n = len(roots)
    side = np.sign(roots.template[:, :1])
    flow = side * np.array([[0.9, 0.0, 0.0]]) + np.array([0.0, 0.10, -0.6])
    length = (0.090 + 0.070 * wig.length + 0.010 * full) * (0.55 + 0.45 * own.random(n))
    volume = 0.004 + 0.009 * _locks(roots.template, own)
    growth = _Growth(flow, length, 0.42, 0.12 + 0.20 * wig.curl, 0.25, volume, 0.22, own)
    first = _unit(0.4 * _unit(roots.at - scalp.centre) + flow + 0.05 * own.standard_normal((n, 3)))
    return _grow(scalp, roots, first, growth), np.full(n, 0.00046)


def _under_hat(
    scalp: Scalp, points: Floats, other: npt.NDArray[np.bool_], width: Floats, line: float
) -> tuple[Floats, npt.NDArray[np.bool_], Floats]:
    """Hair under a hat lies flat; what has its root well above the rim is left out."""
    slope = line - 0.35 * (points[:, 0, 1] - scalp.shift[1] + 0.10)
    kept = points[:, 0, 2] - scalp.shift[2] < slope + 0.012
    points, other, width = points[kept], other[kept], width[kept]
    distance, skin = scalp.reach(points)
    covered = points[..., 2] - scalp.shift[2] > line - 0.35 * (points[..., 1] - scalp.shift[1] + 0.10) - 0.004
    factor = np.where(covered, np.minimum(1.0, (skin + 0.004) / distance), 1.0)
    return scalp.centre + (points - scalp.centre) * factor[..., None], other, width


def _locks(points: Floats, own: np.random.Generator) -> Floats:
    """A number from 0 to 1 that neighbouring roots share: hair falls in locks."""
    wave = own.standard_normal((3, 6)) * 160.0
    return np.asarray(0.5 + 0.5 * np.sin(points @ wave + 6.28 * own.random(6)).mean(axis=1) * 1.8).clip(0, 1)


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12))
