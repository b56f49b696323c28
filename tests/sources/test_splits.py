"""A driver belongs to one split, by check and by construction."""

from __future__ import annotations

import pytest

from contract.errors import Refused, UsageError
from sources.splits import check_splits, split_by_driver

SHARES = {"train": 0.7, "validation": 0.15, "test": 0.15}


def test_a_driver_in_two_splits_is_refused() -> None:
    check_splits(
        [("a", "train", "1"), ("b", "test", "2"), (None, "test", "3"), (None, "train", "4"), ("a", "train", "5")]
    )
    with pytest.raises(Refused, match="7: driver 'a' is in the splits 'train' and 'test'"):
        check_splits([("a", "train", "1"), ("a", "test", "7")])


@pytest.mark.parametrize("count", [3, 10, 37])
def test_every_split_has_drivers_of_its_own(count: int) -> None:
    drivers = [f"d{number % count}" for number in range(count * 5)]
    splits = split_by_driver(drivers, SHARES)
    check_splits((driver, split, "") for driver, split in zip(drivers, splits, strict=True))
    sizes = {split: len({d for d, s in zip(drivers, splits, strict=True) if s == split}) for split in SHARES}
    assert sum(sizes.values()) == count and min(sizes.values()) >= 1
    assert all(abs(sizes[split] - share * count) <= 2 for split, share in SHARES.items())


def test_the_seed_decides_and_the_order_of_records_does_not() -> None:
    drivers = [f"d{number}" for number in range(20)]
    first = dict(zip(drivers, split_by_driver(drivers, SHARES, seed=1), strict=True))
    again = dict(zip(drivers[::-1], split_by_driver(drivers[::-1], SHARES, seed=1), strict=True))
    assert first == again and first != dict(zip(drivers, split_by_driver(drivers, SHARES, seed=2), strict=True))


def test_too_few_drivers_and_shares_of_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="2 drivers for 3 splits"):
        split_by_driver(["a", "b"], SHARES)
    for shares in ({}, {"train": 0.0}):
        with pytest.raises(UsageError, match="expected a share above 0"):
            split_by_driver(["a"], shares)
