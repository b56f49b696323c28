"""Real and synthetic frames are mixed in exact counts, whatever the ratio, the strata, the epoch and the workers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from contract.errors import UsageError
from sources.base import LabelledFrames
from tests.seat_source import seat_source
from tests.training.grey_source import grey_source
from training.hybrid import HybridDataset, HybridSampler, strata_of

BY = ("fatigue_level",)


def items(dataset: HybridDataset) -> list[tuple[bool, int]]:
    return [(item["synthetic"], item["row"]) for item in (dataset[index] for index in range(len(dataset)))]


def with_fatigue(source: LabelledFrames, levels: list[str]) -> LabelledFrames:
    """The source with these fatigue levels, of which nothing is hidden."""
    field, conditions = source.schema.field("fatigue_level"), source.conditions.copy()
    for row, level in zip(conditions, levels, strict=True):
        row[field.slots] = field.encode(level)
    return dataclasses.replace(source, conditions=conditions, hidden=np.zeros_like(source.hidden))


def counted(dataset: HybridDataset, synthetic: bool) -> dict[str, int]:
    return Counter(stratum[0] for made, stratum in dataset.strata if made == synthetic)


def test_700_real_and_300_synthetic_are_1000_items_each_once() -> None:
    dataset = HybridDataset(grey_source(700), grey_source(300, seed=1), 0.7)
    assert len(dataset) == 1000
    assert sorted(items(dataset)) == [(False, row) for row in range(700)] + [(True, row) for row in range(300)]
    for index in (-1, 1000):
        with pytest.raises(IndexError, match="expected 0 to 999"):
            dataset[index]


@pytest.mark.parametrize(("ratio", "real", "synthetic"), [(1.0, 40, 0), (0.0, 0, 30), (0.8, 40, 10), (0.6, 40, 27)])
def test_the_ratio_is_met_to_the_frame(ratio: float, real: int, synthetic: int) -> None:
    dataset = HybridDataset(grey_source(40), grey_source(30, seed=1), ratio)
    found = items(dataset)
    assert len(set(found)) == len(found) == len(dataset) == real + synthetic
    assert [row for made, row in found if not made] == list(range(real)), "every real frame, or none at 0"


def test_a_ratio_that_no_binary_number_meets_is_met() -> None:
    real, synthetic = grey_source(10), grey_source(90, seed=1)
    assert HybridDataset(real, synthetic, 0.1).synthetic_count == 90, "10 * 0.9 / 0.1 is 90.00000000000001"


@pytest.mark.parametrize(
    ("ratio", "message"),
    [
        (0.5, "40 synthetic frames beside 40 real ones asked for, 30 there; .* a ratio of at least 0.5714"),
        (-0.1, "expected the share of real frames, from 0 to 1"),
        (float("nan"), "expected the share of real frames, from 0 to 1"),
    ],
)
def test_more_than_there_is_and_no_ratio_are_refused(ratio: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        HybridDataset(grey_source(40), grey_source(30, seed=1), ratio)


def test_sources_that_dont_fit_together_are_refused() -> None:
    with pytest.raises(UsageError, match="expected one shape and one schema"):
        HybridDataset(grey_source(4), seat_source(4), 0.5)
    with pytest.raises(UsageError, match="expected one shape and one schema"):
        HybridDataset(grey_source(4), grey_source(4, size=32), 0.5)


def test_an_item_is_the_frame_that_it_names() -> None:
    real, synthetic = grey_source(4), grey_source(4, seed=1)
    item = HybridDataset(real, synthetic, 0.5)[6]
    assert item["synthetic"] is True
    pixels = ((item["image"] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(pixels, synthetic.frames[item["row"]])
    assert np.array_equal(item["condition"].numpy(), synthetic.conditions[item["row"]])
    assert np.array_equal(item["hidden"].numpy(), synthetic.hidden[item["row"]])


def test_strata_follow_the_real_frames() -> None:
    real = with_fatigue(grey_source(20), ["normal"] * 14 + ["mild"] * 3 + ["severe"] * 3)
    synthetic = with_fatigue(grey_source(80, seed=1), ["normal", "mild", "moderate", "severe"] * 20)
    dataset = HybridDataset(real, synthetic, 2 / 3, by=BY)
    assert counted(dataset, synthetic=True) == {"normal": 7, "mild": 2, "severe": 1}, "10 as 14 : 3 : 3"
    with pytest.raises(UsageError, match="28 synthetic frames of fatigue_level=normal asked for, 20 there"):
        HybridDataset(real, synthetic, 1 / 3, by=BY)


def test_balancing_fills_the_tail() -> None:
    real = with_fatigue(grey_source(20), ["normal"] * 14 + ["mild"] * 3 + ["severe"] * 3)
    synthetic = with_fatigue(grey_source(80, seed=1), ["normal", "mild", "moderate", "severe"] * 20)
    dataset = HybridDataset(real, synthetic, 0.4, by=BY, balance=True)
    assert counted(dataset, synthetic=True) == {"mild": 9, "moderate": 12, "severe": 9}
    scarce = with_fatigue(grey_source(30, seed=1), ["normal"] * 22 + ["severe"] * 8)
    dataset = HybridDataset(real, scarce, 0.5, by=BY, balance=True)
    assert counted(dataset, synthetic=True) == {"severe": 8, "normal": 12}, "what there is of the tail, then others"


def test_only_classes_are_strata_and_a_hidden_label_is_one_of_its_own() -> None:
    source = grey_source(12)
    hidden = source.hidden[:, source.schema.names.index("fatigue_level")]
    assert hidden.any()
    assert [stratum == ("hidden",) for stratum in strata_of(source, BY)] == hidden.tolist()
    with pytest.raises(UsageError, match="gaze_yaw: a number has no strata"):
        HybridDataset(source, source, 0.5, by=("gaze_yaw",))
    with pytest.raises(UsageError, match="no field of the schema"):
        HybridDataset(source, source, 0.5, by=("drowsiness",))


def epochs(workers: int, seed: int = 0) -> list[list[tuple[bool, int]]]:
    """What a loader delivers in three epochs, the last one being the first again."""
    dataset = HybridDataset(grey_source(24), grey_source(40, seed=1), 0.6, seed=seed)
    order = HybridSampler(dataset, seed=seed)
    loader: DataLoader[dict[str, Any]] = DataLoader(
        dataset, batch_size=8, sampler=order, num_workers=workers, persistent_workers=workers > 0
    )
    found = []
    for epoch in (0, 1, 0):
        order.set_epoch(epoch)
        pairs = [zip(batch["synthetic"].tolist(), batch["row"].tolist(), strict=True) for batch in loader]
        found.append([pair for batch in pairs for pair in batch])
    return found


def test_workers_deliver_what_one_process_does_and_epochs_differ() -> None:
    alone = epochs(0)
    assert epochs(2) == alone
    first, second, again = alone
    assert first == again and first != second and epochs(0, seed=1)[0] != first
    for epoch in (first, second):
        assert len(set(epoch)) == len(epoch) == 40
        assert sorted(row for made, row in epoch if not made) == list(range(24))
    assert {row for made, row in first if made} != {row for made, row in second if made}, "others of the 40"


def test_every_batch_holds_the_ratio() -> None:
    dataset = HybridDataset(grey_source(48), grey_source(64, seed=1), 0.5)
    order = torch.tensor(list(HybridSampler(dataset)))
    assert sorted(order.tolist()) == list(range(96))
    real = (order.reshape(-1, 8) < 48).sum(dim=1)
    assert ((real - 4).abs() <= 1).all()
