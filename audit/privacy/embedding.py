"""Spaces in which frames are compared: pixels, and the features of an annotator.

spaces = embed(frames, features)                  # {"pixels": [N, 192], "features": [N, 8]}
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audit.stats.bootstrap import Array
from contract.frames import Frames
from contract.thumbnails import thumbnails

COMPONENTS = 8
"""Principal components that a density is estimated in: beyond that a kernel needs more frames than anybody has."""


def embed(frames: Frames, features: npt.NDArray[np.floating] | None = None) -> dict[str, Array]:
    """Rows of each space by its name; features only where an annotator has read them."""
    spaces = {"pixels": thumbnails(frames)}
    if features is not None:
        spaces["features"] = np.asarray(features, np.float64)
    return spaces


def principal_components(points: Array, others: list[Array], count: int = COMPONENTS) -> list[Array]:
    """The points and the others in the first whitened principal components of the points."""
    mean = points.mean(axis=0)
    _, deviations, axes = np.linalg.svd(points - mean, full_matrices=False)
    kept = min(count, int((deviations > deviations[0] * 1e-6).sum()))
    scale = axes[:kept].T / (deviations[:kept] / np.sqrt(max(len(points) - 1, 1)))
    return [(each - mean) @ scale for each in (points, *others)]
