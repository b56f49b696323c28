"""How far apart are two sets of frames in the annotator's feature space?

    distances(generated, reference, drivers)          # features [N, F] of as many frames of each, drivers [N]
    # {"fd_dms": ..., "kd_dms": ..., "precision_dms": ..., "recall_dms": ..., ..., "intervals": {...}}

The names say whose features they are: FD-dms isn't an FID, and its figures compare with no one else's. FD-dms rises
as the number of frames falls, so it is read beside the same figure of rendered against rendered frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from audit.stats.bootstrap import Array, group_resamples, interval, moved_interval
from audit.stats.neighbours import BLOCK, Indices, blocks, nearest
from contract.errors import UsageError

RESAMPLES = 200
"""Fewer than for shares: each one takes two covariances and their square root."""

PRECISION_NEIGHBOURS = 3
"""k of precision and recall (arXiv 1904.06991)."""

DENSITY_NEIGHBOURS = 5
"""k of density and coverage (arXiv 2002.09797)."""

FEWEST = DENSITY_NEIGHBOURS + 1


def distances(
    generated: npt.NDArray[np.floating[Any]], reference: npt.NDArray[np.floating[Any]], drivers: Indices
) -> dict[str, Any]:
    """Every distance with its interval, of features [N, F]; frame i of both may share a condition.

    `drivers` [N] says whose frame i is: intervals draw whole drivers again.

    Raises UsageError where the sets differ in size or are too small for their neighbourhoods.
    """
    x, y = np.asarray(generated, np.float64), np.asarray(reference, np.float64)
    if x.shape != y.shape or len(x) < FEWEST:
        raise UsageError(f"features {x.shape} and {y.shape}: expected as many of each, {FEWEST} or more")
    weights = group_resamples(drivers, RESAMPLES)
    everything = np.ones((1, len(x)))
    found, bounds = {}, {}
    found["fd_dms"] = frechet(x, y)
    resampled = np.array([frechet(x, y, row) for row in weights])
    bounds["fd_dms"] = moved_interval(found["fd_dms"], resampled, least=0.0)
    kernel = kernel_distance(x, y, np.concatenate([everything, weights]))
    found["kd_dms"], bounds["kd_dms"] = float(kernel[0]), interval(kernel[1:])
    for name, each in neighbourhoods(x, y).items():
        found[name], bounds[name] = float(each.mean()), interval(weights @ each / weights.sum(axis=1))
    return found | {"intervals": bounds}


def frechet(x: Array, y: Array, weights: Array | None = None) -> float:
    """Squared Frechet distance of the Gaussians with the moments of x and y [N, F] (arXiv 1706.08500, equation 6).

    `weights` [N] repeat frames, the same of both. The trace of the root is taken from symmetric matrices, whose
    eigenvalues are real, so that no iteration has to converge.
    """
    (mean_x, cov_x), (mean_y, cov_y) = (_moments(features, weights) for features in (x, y))
    values, vectors = np.linalg.eigh(cov_x)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    common = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_y @ root), 0.0)).sum()
    distance = ((mean_x - mean_y) ** 2).sum() + np.trace(cov_x) + np.trace(cov_y) - 2.0 * common
    return float(max(distance, 0.0))


def kernel_distance(x: Array, y: Array, weights: Array) -> Array:
    """Unbiased squared MMD of x and y [N, F] under ((a b) / F + 1)^3, for each row of weights [R, N]: [R].

    The estimator for as many of each (Gretton et al. 2012, lemma 6) with the kernel of arXiv 1801.01401. It leaves
    out every pair of a frame with itself and of two frames with one index, so that neither repetition nor a shared
    condition biases it; it may be negative.
    """
    total = np.zeros(len(weights))
    for first in range(0, len(x), BLOCK):
        rows = slice(first, min(first + BLOCK, len(x)))
        h = _cubic(x[rows], x) + _cubic(y[rows], y) - _cubic(x[rows], y) - _cubic(y[rows], x)
        h[np.arange(len(h)), np.arange(rows.start, rows.stop)] = 0.0
        total += (weights[:, rows] @ h * weights).sum(axis=1)
    pairs: Array = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
    return np.asarray(total / pairs)


def neighbourhoods(generated: Array, reference: Array) -> dict[str, Array]:
    """What each frame adds to precision and density (generated ones), recall and coverage (reference ones): [N].

    Precision: inside a reference frame's ball to its 3rd neighbour; recall: inside a generated frame's. Density: in
    how many of the reference frames' balls to their 5th neighbour, as a share of 5; coverage: whether such a ball
    holds a generated frame. Their intervals take the balls as given.
    """
    own, _ = nearest(reference, reference, DENSITY_NEIGHBOURS, itself=True)
    near, wide = own[:, PRECISION_NEIGHBOURS - 1], own[:, -1]
    theirs = nearest(generated, generated, PRECISION_NEIGHBOURS, itself=True)[0][:, -1]
    precision, density = np.zeros(len(generated)), np.zeros(len(generated))
    recall, coverage = np.zeros(len(reference), bool), np.zeros(len(reference), bool)
    for rows, apart in blocks(generated, reference):
        inside = apart <= wide
        precision[rows] = (apart <= near).any(axis=1)
        density[rows] = inside.sum(axis=1) / DENSITY_NEIGHBOURS
        recall |= (apart <= theirs[rows][:, None]).any(axis=0)
        coverage |= inside.any(axis=0)
    return {
        "precision_dms": precision,
        "recall_dms": recall.astype(np.float64),
        "density_dms": density,
        "coverage_dms": coverage.astype(np.float64),
    }


def _moments(features: Array, weights: Array | None) -> tuple[Array, Array]:
    """Mean [F] and unbiased covariance [F, F]."""
    w = np.ones(len(features)) if weights is None else weights
    mean = w @ features / w.sum()
    centred = features - mean
    return mean, (centred * w[:, None]).T @ centred / (w.sum() - 1.0)


def _cubic(a: Array, b: Array) -> Array:
    product: Array = (a @ b.T / a.shape[1] + 1.0) ** 3
    return product
