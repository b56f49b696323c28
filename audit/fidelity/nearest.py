"""The training frames that generated frames lie nearest to, for a person to look at: has the model copied?

    found = find_nearest(features, training_features)
    found.ratio                                       # [N], small where a frame may be a copy

A distance alone says little where training frames crowd, so it is taken as a share of the distance between that
training frame and its own nearest neighbour. This finds what to look at; `audit.privacy` is what measures a risk.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.stats.neighbours import Array, Indices, nearest

SHOWN = 20


@dataclass(frozen=True)
class Nearest:
    """For each of N frames its nearest training frame."""

    index: Indices
    """[N]: which training frame"""
    distance: Array
    """[N]: how far away in feature space"""
    spacing: Array
    """[N]: how far that training frame is from its own nearest neighbour"""

    @property
    def ratio(self) -> Array:
        """Distance as a share of the spacing, [N]; a copy has 0."""
        ratio: Array = self.distance / np.maximum(self.spacing, np.finfo(np.float64).tiny)
        return ratio


def find_nearest(features: Array, training: Array) -> Nearest:
    """The nearest of the training features [M, F] for features [N, F]."""
    distances, indices = nearest(features, training, 1)
    distance, index = distances[:, 0], indices[:, 0]
    chosen, inverse = np.unique(index, return_inverse=True)
    two, others = nearest(training[chosen], training, 2)  # one of the two is the frame itself, or a copy of it
    own = np.where(others[:, 0] == chosen, two[:, 1], two[:, 0])
    return Nearest(index, distance, own[inverse])


def most_suspicious(ratios: Array, count: int = SHOWN) -> list[tuple[int, int]]:
    """(run, frame) of the smallest ratios [runs, N], each frame once although every run draws it; NaN for none."""
    known = np.where(np.isnan(ratios), np.inf, ratios)
    best = known.argmin(axis=0)
    smallest = known[best, np.arange(known.shape[1])]
    order = np.argsort(smallest, kind="stable")[:count]
    return [(int(best[frame]), int(frame)) for frame in order if np.isfinite(smallest[frame])]
