"""Who is seen in which split: a driver belongs to one of them, or what a network knows by heart passes for learning.

check_splits((sample.driver, sample.split, str(sample.file)) for sample in samples)
splits = split_by_driver(drivers, {"train": 0.7, "validation": 0.15, "test": 0.15}, seed=0)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from contract.errors import Refused, UsageError
from contract.noise import stream

SPLIT_TOPIC = 20
"""Random stream of the assignment of drivers to splits."""


def check_splits(seen: Iterable[tuple[str | None, str, str]]) -> None:
    """Refused where a driver is in two splits; `seen` gives driver (None: unknown), split and place of each record."""
    splits: dict[str, str] = {}
    for driver, split, where in seen:
        if driver is not None and splits.setdefault(driver, split) != split:
            raise Refused(
                f"{where}: driver {driver!r} is in the splits {splits[driver]!r} and {split!r};"
                " keep all records of a driver in one split"
            )


def split_by_driver(drivers: Sequence[str], shares: Mapping[str, float], seed: int = 0) -> list[str]:
    """The split of each record, all records of a driver in the same one; `shares` are shares of the drivers.

    Every split has at least one driver. Raises UsageError where there are fewer drivers than splits, or the shares
    aren't positive.
    """
    names = sorted(set(drivers))
    if not shares or min(shares.values()) <= 0:
        raise UsageError(f"shares {dict(shares)}: expected a share above 0 for each split")
    if len(names) < len(shares):
        raise UsageError(f"{len(names)} drivers for {len(shares)} splits; expected at least one driver for each")
    free, whole = len(names) - len(shares), sum(shares.values())
    edges, reached = [0], 0.0
    for number, share in enumerate(shares.values(), start=1):
        reached += share / whole
        edges.append(number + round(reached * free))
    order = stream(seed, 0, SPLIT_TOPIC).permutation(len(names))
    chosen: dict[str, str] = {}
    for split, (low, high) in zip(shares, itertools.pairwise(edges), strict=True):
        chosen |= {names[place]: split for place in order[low:high]}
    return [chosen[driver] for driver in drivers]
