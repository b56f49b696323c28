"""How well a score tells members from non-members: area under the curve, rates, and a p-value by permutation.

    auc(scores, members)                            # 0.5 for a score that knows nothing
    auc(scores, members, resamples)[:, ...]         # the same for each row of weights [R, N]
    permutation_p_value(scores, members, drivers)

All take weights [R, N], one row for a resample, as the bootstrap gives them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audit.stats.bootstrap import Array
from contract.noise import stream

Bools = npt.NDArray[np.bool_]
PERMUTATIONS = 199


def auc(scores: Array, members: Bools, weights: Array | None = None) -> Array:
    """P[member's score > non-member's] + P[equal] / 2, for each row of weights: [R]; NaN where one side is empty."""
    positive, negative = _weights_by_score(scores, members, weights)
    below = negative.cumsum(axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray((positive * (below + negative / 2.0)).sum(axis=1) / pairs)


def tpr_at(false_positive_rate: float, scores: Array, members: Bools, weights: Array | None = None) -> Array:
    """The largest share of members above a threshold that at most that share of non-members exceeds: [R]."""
    positive, negative = (side[:, ::-1].cumsum(axis=1) for side in _weights_by_score(scores, members, weights))
    with np.errstate(invalid="ignore"):
        rates = np.where(negative <= false_positive_rate * negative[:, -1:], positive / positive[:, -1:], 0.0)
    return np.asarray(rates.max(axis=1))


def rate_above(threshold: float, scores: Array, chosen: Bools, weights: Array | None = None) -> Array:
    """Share of the chosen frames whose score exceeds a threshold, for each row of weights: [R]."""
    w = (np.ones((1, len(scores))) if weights is None else weights)[:, chosen]
    with np.errstate(invalid="ignore"):
        return np.asarray(w @ (scores[chosen] > threshold) / w.sum(axis=1))


def best_threshold(scores: Array, members: Bools) -> float:
    """The threshold with the largest difference between both rates (Youden's index)."""
    values = np.unique(scores)
    candidates = np.concatenate([[-np.inf], (values[:-1] + values[1:]) / 2.0])
    above = [
        len(side) - np.searchsorted(np.sort(side), candidates, "right") for side in (scores[members], scores[~members])
    ]
    return float(candidates[(above[0] / members.sum() - above[1] / (~members).sum()).argmax()])


def permutation_p_value(
    scores: Array, members: Bools, groups: npt.NDArray[np.int64], permutations: int = PERMUTATIONS, seed: int = 0
) -> float:
    """How often an AUC as large arises when whole groups (drivers) are made members at random.

    Exact where groups are exchangeable; at least 1 / (permutations + 1).
    """
    known, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    sides = members[first]
    generator = stream(seed, len(known), 0)
    observed = auc(scores, members)[0]
    drawn = [auc(scores, generator.permutation(sides)[inverse])[0] for _ in range(permutations)]
    return float((1 + np.sum(np.array(drawn) >= observed)) / (permutations + 1))


def _weights_by_score(scores: Array, members: Bools, weights: Array | None) -> tuple[Array, Array]:
    """Total weight of members and of non-members at each distinct score, lowest first: both [R, distinct]."""
    order = np.argsort(scores, kind="stable")
    ordered, sides = scores[order], members[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    w = (np.ones((1, len(scores))) if weights is None else weights)[:, order]
    return np.add.reduceat(w * sides, starts, axis=1), np.add.reduceat(w * ~sides, starts, axis=1)
