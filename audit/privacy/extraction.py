"""Near copies: which generated frames repeat a training frame?

    result = find_near_copies(generated, members, non_members)
    result.finding.main                               # how many of the generated frames are near copies
    result.pairs                                      # [(generated frame, training frame)], the nearest first

A frame is a near copy where its distance to the nearest training frame is a smaller share of that frame's own spacing
than for 99 % of real frames of other people (Carlini et al., arXiv 2301.13188, with a threshold that real frames set).
The control arm looks for copies of people whom the model has never seen, by the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.privacy.attack import BLACK_BOX, Counts, Finding, risk_of
from audit.stats.bootstrap import Array, resamples
from audit.stats.neighbours import Indices, nearest
from audit.stats.proportions import binomial_tail
from contract.errors import Refused

NEIGHBOURS = 5
"""Of a training frame, whose mean distance is its spacing."""

LEVEL = 0.01
"""Share of real frames of other people that pass for near copies."""

FEWEST = 50
"""Frames of each kind: below that the threshold is a guess."""

SHOWN = 20
TINY = 1e-12


@dataclass(frozen=True)
class Extraction:
    """What was found, and which pairs a person should look at."""

    finding: Finding
    pairs: list[tuple[int, int]]
    """(generated frame, member frame)"""


@dataclass(frozen=True)
class _Search:
    """The near copies of one set of frames."""

    ratio: Array
    index: Indices
    threshold: float

    @property
    def copies(self) -> Array:
        return (self.ratio < self.threshold).astype(np.float64)


def find_near_copies(generated: Array, members: Array, non_members: Array) -> Extraction:
    """Near copies among generated frames, all as rows of one space: [G, F], [M, F], [O, F]."""
    for name, rows in (("generated", generated), ("member", members), ("non-member", non_members)):
        if len(rows) < FEWEST:
            raise Refused(f"extraction: {len(rows)} {name} frames; expected {FEWEST} or more")
    main, control = _search(generated, members, non_members), _search(generated, non_members, members)
    weights = resamples(len(generated))
    rates = [weights @ arm.copies / len(generated) for arm in (main, control)]
    only_main = int((main.copies > control.copies).sum())
    only_one = only_main + int((control.copies > main.copies).sum())
    counts = [Counts(int(arm.copies.sum()), len(generated)) for arm in (main, control)]
    order = np.argsort(main.ratio, kind="stable")[:SHOWN]
    finding = Finding(
        name="extraction",
        access=BLACK_BOX,
        main=counts[0],
        control=counts[1],
        baseline=LEVEL,
        risk=float(risk_of(np.array(counts[0].rate), np.array(counts[1].rate))),
        risk_samples=risk_of(rates[0], rates[1]),
        p_value=binomial_tail(only_main, only_one, 0.5) if only_one else 1.0,
        figures={"smallest_ratio": float(main.ratio.min()), "threshold": main.threshold, "generated": len(generated)},
    )
    return Extraction(finding, [(int(row), int(main.index[row])) for row in order])


def _search(generated: Array, targets: Array, real: Array) -> _Search:
    own = nearest(targets, targets, NEIGHBOURS, itself=True)[0].mean(axis=1)
    usual, _ = _ratio(real, targets, own)
    ratio, index = _ratio(generated, targets, own)
    return _Search(ratio, index, float(np.quantile(usual, LEVEL)))


def _ratio(queries: Array, targets: Array, spacing: Array) -> tuple[Array, Indices]:
    distances, indices = nearest(queries, targets, 1)
    index = indices[:, 0]
    return distances[:, 0] / (spacing[index] + TINY), index
