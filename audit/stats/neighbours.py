"""Nearest neighbours between two sets of points, a block of rows at a time so that memory stays small.

distances, indices = nearest(queries, points, count=5)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

BLOCK = 256
"""Rows at a time: 256 x 40 000 float64 are 80 MB."""


def blocks(queries: Array, points: Array) -> Iterator[tuple[slice, Array]]:
    """The Euclidean distances of a block of queries [b, F] to all points [N, F]: (rows, [b, N])."""
    squares = (points**2).sum(axis=1)
    for first in range(0, len(queries), BLOCK):
        rows = slice(first, min(first + BLOCK, len(queries)))
        block = queries[rows]
        squared = (block**2).sum(axis=1)[:, None] + squares - 2.0 * block @ points.T
        yield rows, np.sqrt(np.maximum(squared, 0.0))


def nearest(queries: Array, points: Array, count: int, itself: bool = False) -> tuple[Array, Indices]:
    """Distances and indices of the `count` nearest points of each query, the nearest first: both [Q, count].

    With `itself` the queries are the points, and a point is no neighbour of its own. Sets with fewer points than
    that give as many neighbours as there are.
    """
    count = min(count, len(points) - itself)
    distances, indices = np.empty((len(queries), count)), np.empty((len(queries), count), np.int64)
    for rows, block in blocks(queries, points):
        if itself:
            block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = np.inf
        chosen = np.argpartition(block, count - 1, axis=1)[:, :count]
        found = np.take_along_axis(block, chosen, axis=1)
        order = found.argsort(axis=1)
        distances[rows] = np.take_along_axis(found, order, axis=1)
        indices[rows] = np.take_along_axis(chosen, order, axis=1)
    return distances, indices
