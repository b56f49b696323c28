"""How different are frames of one condition? A model that draws one face a condition scores near 0.

    found = spread(features, frames, GROUP)           # {"features": ..., "pixels": ...}, both [conditions]
    diversity(found, spread(features_of_rendered_frames, rendered, GROUP))

Frames are ordered by condition, `group` of each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from audit.stats.bootstrap import Array, interval, resamples

CONDITIONS = 8
GROUP = 8
"""Frames of each condition, every one from its own noise."""


def spread(features: npt.NDArray[np.floating[Any]], frames: npt.NDArray[np.uint8], group: int) -> dict[str, Array]:
    """Mean distance between two frames of a condition, [conditions]: in features, and in pixels (RMS, 0 to 1)."""
    pixels = frames.reshape(len(frames), -1).astype(np.float64) / 255.0
    return {
        "features": _pairwise(np.asarray(features, np.float64), group),
        "pixels": _pairwise(pixels, group) / np.sqrt(pixels.shape[1]),
    }


def diversity(found: dict[str, Array], rendered: dict[str, Array] | None) -> dict[str, Any]:
    """Mean spread over the conditions, as such and as a share of what rendered frames of the same conditions have.

    Intervals are over conditions, of which there are few.
    """
    weights = resamples(len(found["features"]))
    figures: dict[str, Any] = {"intervals": {}}
    for name, values in found.items():
        figures[name] = float(values.mean())
        figures["intervals"][name] = interval(weights @ values / len(values))
        if rendered is not None:
            floor = rendered[name]
            figures[f"{name}_share"] = float(values.mean() / floor.mean())
            figures["intervals"][f"{name}_share"] = interval(weights @ values / (weights @ floor))
    return figures


def _pairwise(points: Array, group: int) -> Array:
    rows, columns = np.triu_indices(group, 1)
    each = points.reshape(-1, group, points.shape[1])
    return np.array([np.linalg.norm(own[rows] - own[columns], axis=1).mean() for own in each])
