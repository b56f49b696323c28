"""The training frames that generated frames are nearest to, for a person to look at: has the model copied?

    found = find_nearest(features, training_features)
    found.ratio                                       # [N], small where a frame may be a copy

A distance alone says little where training frames crowd, so it is divided by the distance between that training frame
and its own nearest neighbour. This finds what to look at; `audit.privacy` measures the risk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audit.fidelity.report import RunResult
from audit.stats.neighbours import Array, Indices, nearest
from contract.annotation import Annotation
from contract.frames import PEAK, Frames
from pictures.image_grid import draw_page, write_image

SHOWN = 20


@dataclass(frozen=True)
class TrainingSet:
    """What a run's frames are compared with."""

    frames: Frames
    features: Array


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
        """Distance divided by spacing, [N]; 0 for a copy."""
        ratio: Array = self.distance / np.maximum(self.spacing, np.finfo(np.float64).tiny)
        return ratio

    def summary(self) -> dict[str, float]:
        return {"smallest": float(self.ratio.min()), "first_percentile": float(np.quantile(self.ratio, 0.01))}


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


def find_copies(
    page: Path, results: Sequence[RunResult], reference: Annotation, training: TrainingSet
) -> dict[str, Any]:
    """The most suspicious frames of all runs beside their nearest training frames: a picture, and the figures.

    The held-out frames of `reference`, which can't be copies, are measured likewise.
    """
    found = [find_nearest(item.annotation.features.astype(np.float64), training.features) for item in results]
    ratios = np.full((len(found), len(reference.features)), np.nan)
    for row, nearby in zip(ratios, found, strict=True):
        row[: len(nearby.ratio)] = nearby.ratio
    pairs = most_suspicious(ratios)
    frames = [_describe(results[which], found[which], frame, training) for which, frame in pairs]
    captions = [[item["run"], f"frame {item['index']}", f"ratio {item['ratio']:.2f}"] for item in frames]
    tiles = [[results[which].frames[frame], training.frames[found[which].index[frame]]] for which, frame in pairs]
    write_image(page, draw_page(["generated", "nearest training"], captions, tiles))
    return {
        "training_frames": len(training.frames),
        "held_out": find_nearest(reference.features.astype(np.float64), training.features).summary(),
        "runs": [{"run": item.run.label} | nearby.summary() for item, nearby in zip(results, found, strict=True)],
        "frames": frames,
    }


def _describe(result: RunResult, nearby: Nearest, frame: int, training: TrainingSet) -> dict[str, Any]:
    other = int(nearby.index[frame])
    difference = result.frames[frame].astype(np.float64) - training.frames[other]
    return {
        "run": result.run.label,
        "index": frame,
        "training_index": other,
        "distance": float(nearby.distance[frame]),
        "spacing": float(nearby.spacing[frame]),
        "ratio": float(nearby.ratio[frame]),
        "pixels": float(np.sqrt((difference**2).mean()) / PEAK),
    }
