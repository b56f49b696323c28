"""Membership from a generated data set alone: do generated frames crowd around a frame more than the world does?

    scores = black_box_scores(spaces, generated_spaces, population.reference)
    scores["DOMIAS"]                                  # [variants, N], higher: rather a member

Reference frames are non-members that are neither tuned on nor scored.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from audit.privacy.embedding import principal_components
from audit.stats.bootstrap import Array
from audit.stats.neighbours import blocks, nearest
from audit.stats.roc import Bools

NEIGHBOURS = (1, 5)
BANDWIDTHS = (0.25, 0.5, 1.0)
"""In units of Scott's rule."""

SMALLEST = 1e-12


def black_box_scores(spaces: Mapping[str, Array], generated: Mapping[str, Array], reference: Bools) -> dict[str, Array]:
    """Scores of all N frames by attack: a row for each space with each of the attack's settings."""
    domias, distances = [], []
    for name, points in spaces.items():
        world = points[reference]
        distances += [_calibrated_distance(points, generated[name], world, k) for k in NEIGHBOURS]
        scaled, made, outside = principal_components(world, [generated[name], points])
        domias += [_density_ratio(outside, made, scaled, bandwidth) for bandwidth in BANDWIDTHS]
    return {"DOMIAS": np.array(domias), "calibrated distance": np.array(distances)}


def _calibrated_distance(points: Array, generated: Array, world: Array, k: int) -> Array:
    """How much nearer the k-th generated frame is than the k-th reference frame (GAN-Leaks, arXiv 1909.03935)."""
    near, usual = (nearest(points, others, k)[0][:, -1] for others in (generated, world))
    return np.log(usual + SMALLEST) - np.log(near + SMALLEST)


def _density_ratio(points: Array, generated: Array, world: Array, bandwidth: float) -> Array:
    """The logarithm of generated over real density (DOMIAS, arXiv 2302.12580), by Gaussian kernels."""
    dimensions = points.shape[1]
    made, real = (
        _log_density(points, others, bandwidth * len(others) ** (-1.0 / (dimensions + 4)))
        for others in (generated, world)
    )
    return made - real


def _log_density(points: Array, others: Array, width: float) -> Array:
    """Up to a constant that both densities share where their widths are alike."""
    found = np.empty(len(points))
    for rows, apart in blocks(points, others):
        exponents = -0.5 * (apart / width) ** 2
        largest = exponents.max(axis=1, keepdims=True)
        found[rows] = largest[:, 0] + np.log(np.exp(exponents - largest).mean(axis=1))
    return np.asarray(found - points.shape[1] * np.log(width))
