"""Driver-level membership: was any frame of this driver trained on? Many weak signals of one person add up.

finding = driver_finding("loss", WHITE_BOX, scores, population)   # scores [variants, N], as for single frames
"""

from __future__ import annotations

import numpy as np

from audit.privacy.attack import Finding, Population, choose_variant, score_membership
from audit.stats.bootstrap import Array
from audit.stats.roc import best_threshold


def driver_finding(name: str, access: str, scores: Array, population: Population, seed: int = 0) -> Finding:
    """As `membership_finding`, for the mean score of each driver's frames."""
    variant = choose_variant(scores, population)
    drivers, first, inverse = np.unique(population.drivers, return_index=True, return_inverse=True)
    means = np.bincount(inverse, scores[variant]) / np.bincount(inverse)
    members, scored, tuning = (values[first] for values in (population.members, population.scored, population.tuning))
    threshold = best_threshold(means[tuning], members[tuning])
    figures = {"variant": variant, "frames_a_driver": float(np.bincount(inverse).mean())}
    return score_membership(
        f"driver by {name}", access, means[scored], members[scored], drivers[scored], threshold, figures, seed
    )
