"""Signed distances of the shapes that the cabin is built of, on separate x, y, z tensors.

Coordinates are kept as three tensors rather than one with a last axis of 3, so that a compiled scene is
one loop over rays that vectorises. Every function returns (a lower bound of) the distance in scene units.

    distance = smooth_min(ellipsoid(x, y, z, 0.7, 0.8, 0.8), sphere(x, y - 0.9, z, 0.3), 0.1)
"""

from __future__ import annotations

import torch

T = torch.Tensor
Number = T | float
Point = tuple[Number, Number, Number]


def length(x: T, y: T, z: T) -> T:
    """Euclidean length; the small constant keeps the square root away from 0."""
    return torch.sqrt(x * x + y * y + z * z + 1e-9)


def sphere(x: T, y: T, z: T, radius: Number) -> T:
    return length(x, y, z) - radius


def ellipsoid(x: T, y: T, z: T, rx: Number, ry: Number, rz: Number) -> T:
    """First-order bound k0 (k0 - 1) / k1 with k0 = |p/r| and k1 = |p/r^2|."""
    ux, uy, uz = x / rx, y / ry, z / rz
    k0 = length(ux, uy, uz)
    k1 = length(ux / rx, uy / ry, uz / rz)
    return k0 * (k0 - 1.0) / k1


def capsule(x: T, y: T, z: T, a: Point, b: Point, ra: Number, rb: Number) -> T:
    """A segment from a to b whose radius goes linearly from ra to rb."""
    px, py, pz = x - a[0], y - a[1], z - a[2]
    bx, by, bz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    along = (px * bx + py * by + pz * bz) / (bx * bx + by * by + bz * bz)
    h = torch.clamp(along, 0.0, 1.0)
    return length(px - bx * h, py - by * h, pz - bz * h) - (ra + (rb - ra) * h)


def round_box(x: T, y: T, z: T, hx: Number, hy: Number, hz: Number, radius: Number) -> T:
    """A box of half sizes hx, hy, hz (radius included) with rounded edges."""
    qx, qy, qz = x.abs() - (hx - radius), y.abs() - (hy - radius), z.abs() - (hz - radius)
    outside = length(qx.clamp(min=0.0), qy.clamp(min=0.0), qz.clamp(min=0.0))
    inside = torch.maximum(qx, torch.maximum(qy, qz)).clamp(max=0.0)
    return outside + inside - radius


def round_rectangle(x: T, y: T, hx: Number, hy: Number, radius: Number) -> T:
    """The same in two dimensions: frames and lenses of glasses."""
    qx, qy = x.abs() - (hx - radius), y.abs() - (hy - radius)
    outside = torch.sqrt(qx.clamp(min=0.0) ** 2 + qy.clamp(min=0.0) ** 2 + 1e-9)
    return outside + torch.maximum(qx, qy).clamp(max=0.0) - radius


def smooth_min(a: T, b: T, k: float) -> T:
    """Quadratic polynomial smooth minimum: a union whose seam is blended over k."""
    h = (k - (a - b).abs()).clamp(min=0.0) / k
    return torch.minimum(a, b) - h * h * (k * 0.25)


def smooth_max(a: T, b: T, k: float) -> T:
    """The blended intersection."""
    return -smooth_min(-a, -b, k)


def smoothstep(edge0: Number, edge1: Number, x: T) -> T:
    """0 below edge0, 1 above edge1, with zero slope at both (edge0 > edge1 falls instead of rising)."""
    t = ((x - edge0) / (edge1 - edge0)).clamp(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
