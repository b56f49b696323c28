"""Near copies: of whom does a generated frame repeat a training frame?

    result = find_near_copies(generated, Side(members, member_drivers), Side(others, other_drivers))
    result.finding.main                               # of how many drivers among the members there are copies
    result.pairs                                      # [(generated frame, training frame)], the nearest first

A generated frame's distance to the nearest training frame counts in shares of that frame's own spacing, and of the
share that 99 % of real frames of other people exceed (Carlini et al., arXiv 2301.13188, with a threshold that real
frames set). The control arm looks for copies of people whom the model has never seen, by the same rule. Some frames
of either arm come near by chance; so a driver counts as copied where one comes closer to theirs than any comes to
anybody of the other side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.privacy.attack import BLACK_BOX, Counts, Finding, gain_of
from audit.stats.bootstrap import Array, resamples
from audit.stats.neighbours import Indices, nearest
from audit.stats.roc import Bools
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
class Side:
    """Frames of members, or of non-members."""

    frames: Array
    """[N, F]: as rows of one space"""
    drivers: Indices
    """[N]"""


@dataclass(frozen=True)
class Extraction:
    """What was found, and which pairs a person should look at."""

    finding: Finding
    pairs: list[tuple[int, int]]
    """(generated frame, member frame)"""


@dataclass(frozen=True)
class _Search:
    """How close generated frames come to one side."""

    closeness: Array
    """[G]: below 1 closer than 99 % of real frames of other people"""
    index: Indices
    """[G]: of the nearest frame"""
    drivers: Array
    """[D]: of each driver, the closest of the frames that are nearest to theirs; infinite where there is none"""

    def copied(self, other: _Search) -> Bools:
        """[D]: of whom a frame is closer than any is to anybody of the other side."""
        return np.asarray(self.drivers < other.drivers.min())


def find_near_copies(generated: Array, members: Side, non_members: Side) -> Extraction:
    """Near copies among generated frames [G, F]; Refused where there are too few frames of a kind."""
    kinds = (("generated", generated), ("member", members.frames), ("non-member", non_members.frames))
    for name, rows in kinds:
        if len(rows) < FEWEST:
            raise Refused(f"extraction: {len(rows)} {name} frames; expected {FEWEST} or more")
    main, control = _search(generated, members, non_members), _search(generated, non_members, members)
    copied = main.copied(control), control.copied(main)
    rates = [resamples(len(arm), seed=seed) @ arm / len(arm) for seed, arm in enumerate(copied)]
    counts = [Counts(int(arm.sum()), len(arm)) for arm in copied]
    passing = [arm.closeness < np.minimum(other.closeness, 1.0) for arm, other in ((main, control), (control, main))]
    order = np.argsort(main.closeness, kind="stable")[:SHOWN]
    finding = Finding(
        name="extraction",
        access=BLACK_BOX,
        main=counts[0],
        control=counts[1],
        baseline=0.0,
        gain=float(gain_of(np.array(counts[0].rate), np.array(counts[1].rate))),
        gains=gain_of(rates[0], rates[1]),
        drivers=(counts[0].attempts, counts[1].attempts),
        p_value=_lead(counts[0].successes, counts[0].attempts, counts[1].attempts),
        figures={
            "generated": len(generated),
            "closer_than_any_control": int((main.closeness < control.closeness.min()).sum()),
            "below_threshold": {"members": int(passing[0].sum()), "non_members": int(passing[1].sum())},
            "smallest": {"members": float(main.closeness.min()), "non_members": float(control.closeness.min())},
        },
    )
    return Extraction(finding, [(int(row), int(main.index[row])) for row in order])


def _lead(leading: int, inside: int, outside: int) -> float:
    """P[so many drivers or more of one side come before all of the other], if sides don't differ."""
    return float(np.prod([(inside - place) / (inside + outside - place) for place in range(leading)]))


def _search(generated: Array, targets: Side, real: Side) -> _Search:
    spacing = nearest(targets.frames, targets.frames, NEIGHBOURS, itself=True)[0].mean(axis=1)
    usual, _ = _ratio(real.frames, targets.frames, spacing)
    ratio, index = _ratio(generated, targets.frames, spacing)
    closeness = ratio / (np.quantile(usual, LEVEL) + TINY)
    known, whose = np.unique(targets.drivers, return_inverse=True)
    drivers = np.full(len(known), np.inf)
    np.minimum.at(drivers, whose[index], closeness)
    return _Search(closeness, index, drivers)


def _ratio(queries: Array, targets: Array, spacing: Array) -> tuple[Array, Indices]:
    distances, indices = nearest(queries, targets, 1)
    index = indices[:, 0]
    return distances[:, 0] / (spacing[index] + TINY), index
