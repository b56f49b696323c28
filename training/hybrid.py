"""Real and synthetic frames mixed at a ratio, as a torch dataset with exact counts and a sampler for its order.

    mix = HybridDataset(real, synthetic, ratio=0.7, by=("fatigue_level",))
    order = HybridSampler(mix, seed=0)
    loader = DataLoader(mix, batch_size=64, sampler=order, num_workers=2, persistent_workers=True)
    for epoch in range(10):
        order.set_epoch(epoch)
        for batch in loader: batch["image"], batch["condition"], batch["hidden"], batch["synthetic"]

An epoch shows every real frame once and as many synthetic ones as the ratio asks for, none of them twice. Where there
are more than that, each epoch draws others.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from contract.errors import UsageError
from contract.frames import scale_pixels
from contract.noise import check_seed, stream
from sources.base import LabelledFrames

MIX_TOPIC, SPREAD_TOPIC = 18, 19
"""Random streams of the choice of synthetic frames, and of the order of an epoch."""

Stratum = tuple[str, ...]
"""A class of each field that frames are stratified by; HIDDEN for a label that the frame doesn't show."""

HIDDEN = "hidden"

Rows = npt.NDArray[np.int64]


class HybridDataset(Dataset[dict[str, Any]]):
    """Items `image` [C, H, W] in [-1, 1], `condition` [D], `hidden` [fields], `synthetic` and `row` of their source.

    The first `real_count` items are the real frames in their order; the others are synthetic.
    """

    def __init__(
        self,
        real: LabelledFrames,
        synthetic: LabelledFrames,
        ratio: float,
        *,
        by: Sequence[str] = (),
        balance: bool = False,
        seed: int = 0,
    ) -> None:
        """`ratio` is the share of real frames: at 1 all of them alone, at 0 all synthetic ones alone.

        `by` names class fields of the schema. The synthetic frames then have their classes as often as the real frames
        do or, with `balance`, fill the rarest ones first, so that the mix is as even as its frames allow. Raises
        UsageError where more synthetic frames are asked for than there are, and for sources that don't fit together.
        """
        if not 0.0 <= ratio <= 1.0:
            raise UsageError(f"ratio {ratio}: expected the share of real frames, from 0 to 1")
        if balance and not by:
            raise UsageError("balance: expected the fields to balance by")
        if not real.schema.encodes_like(synthetic.schema) or real.image != synthetic.image:
            raise UsageError(
                f"real frames {real.image} of the schema {real.schema.name!r}, synthetic ones {synthetic.image} of"
                f" {synthetic.schema.name!r}; expected one shape and one schema"
            )
        self.real, self.synthetic, self.seed, self.by = real, synthetic, check_seed(seed), tuple(by)
        self.real_count = len(real.frames) if ratio > 0 else 0
        self.synthetic_count = _asked(self.real_count, len(synthetic.frames), ratio)
        self._real_strata, strata = strata_of(real, by), strata_of(synthetic, by)
        self._pools = {stratum: np.flatnonzero([s == stratum for s in strata]) for stratum in sorted(set(strata))}
        self._counts = self._shares(balance)
        self._strata = strata
        # In shared memory, so that the workers of a DataLoader see what `set_epoch` draws.
        self._chosen = torch.zeros(self.synthetic_count, dtype=torch.int64)
        self._chosen.share_memory_()  # type: ignore[no-untyped-call]
        self.set_epoch(0)

    def __len__(self) -> int:
        return self.real_count + self.synthetic_count

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One item; IndexError outside 0 to len - 1."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index}; expected 0 to {len(self) - 1}")
        synthetic = index >= self.real_count
        source = self.synthetic if synthetic else self.real
        row = int(self._chosen[index - self.real_count]) if synthetic else index
        pixels = torch.from_numpy(source.frames[row]).permute(2, 0, 1)
        image: Tensor = scale_pixels(pixels.float())
        condition, hidden = torch.from_numpy(source.conditions[row]), torch.from_numpy(source.hidden[row])
        return {"image": image, "condition": condition, "hidden": hidden, "synthetic": synthetic, "row": row}

    def set_epoch(self, epoch: int) -> None:
        """Choose the synthetic frames of an epoch; those of epoch 0 are there from the beginning."""
        generator = stream(self.seed, epoch, MIX_TOPIC)
        picked = [generator.permutation(pool)[: self._counts.get(stratum, 0)] for stratum, pool in self._pools.items()]
        self._chosen.copy_(torch.from_numpy(np.sort(np.concatenate(picked or [np.empty(0, np.int64)]))))

    @property
    def strata(self) -> list[tuple[bool, Stratum]]:
        """Whether each item of the epoch is synthetic, and its stratum."""
        real = [(False, stratum) for stratum in self._real_strata[: self.real_count]]
        return real + [(True, self._strata[row]) for row in self._chosen.tolist()]

    def _shares(self, balance: bool) -> Mapping[Stratum, int]:
        """How many synthetic frames of each stratum an epoch has."""
        have = {stratum: len(pool) for stratum, pool in self._pools.items()}
        if self.synthetic_count == len(self.synthetic.frames):
            return have
        seen = Counter(self._real_strata)
        if balance:
            return fill_evenly(self.synthetic_count, seen, have)
        wanted = split_exactly(self.synthetic_count, seen)
        for stratum, count in wanted.items():
            if count > have.get(stratum, 0):
                name = ", ".join(f"{field}={value}" for field, value in zip(self.by, stratum, strict=True))
                raise UsageError(
                    f"{count} synthetic frames of {name} asked for, {have.get(stratum, 0)} there;"
                    " generate more of them, raise the ratio, or balance instead"
                )
        return wanted


class HybridSampler(Sampler[int]):
    """Every item of a HybridDataset once an epoch, real and synthetic frames and their strata evenly spread.

    So every batch holds each stratum in about its share.
    """

    def __init__(self, dataset: HybridDataset, seed: int = 0) -> None:
        self.dataset, self.seed, self.epoch = dataset, check_seed(seed), 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order and the synthetic frames of an epoch; call it before the loader is iterated."""
        self.epoch = epoch
        self.dataset.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        generator = stream(self.seed, self.epoch, SPREAD_TOPIC)
        members: dict[tuple[bool, Stratum], list[int]] = {}
        for index, stratum in enumerate(self.dataset.strata):
            members.setdefault(stratum, []).append(index)
        places = np.empty(len(self.dataset))
        for indices in members.values():
            spread = np.arange(len(indices)) + generator.random()
            places[generator.permutation(indices)] = spread / len(indices)
        return iter(np.argsort(places, kind="stable").tolist())


def strata_of(source: LabelledFrames, by: Sequence[str]) -> list[Stratum]:
    """The stratum of every frame of a source; UsageError for a field that is unknown or a number."""
    columns = []
    for name in by:
        field = source.schema.field(name)
        if not field.is_class:
            raise UsageError(f"{name}: a number has no strata; name fields that have classes")
        classes = np.asarray(field.values)[field.nearest(source.conditions[:, field.slots])]
        hidden = source.hidden[:, source.schema.names.index(name)]
        columns.append(np.where(hidden, HIDDEN, classes).tolist())
    return list(zip(*columns, strict=True)) if columns else [()] * len(source.frames)


def split_exactly(total: int, weights: Mapping[Stratum, int]) -> dict[Stratum, int]:
    """`total` in the proportions of the weights, as whole numbers of exactly that sum (largest remainder)."""
    whole = sum(weights.values())
    counts = {stratum: total * weight // whole for stratum, weight in weights.items()}
    remainders = sorted(weights, key=lambda stratum: (-(total * weights[stratum] % whole), stratum))
    for stratum in remainders[: total - sum(counts.values())]:
        counts[stratum] += 1
    return counts


def fill_evenly(total: int, seen: Mapping[Stratum, int], have: Mapping[Stratum, int]) -> dict[Stratum, int]:
    """How many to take of each stratum in `have`, always of the one that is rarest together with `seen`."""
    counts = dict.fromkeys(have, 0)
    rarest = [(seen.get(stratum, 0), stratum) for stratum, there in have.items() if there]
    heapq.heapify(rarest)
    for _ in range(total):
        level, stratum = heapq.heappop(rarest)
        counts[stratum] += 1
        if counts[stratum] < have[stratum]:
            heapq.heappush(rarest, (level + 1, stratum))
    return counts


def _asked(real: int, synthetic: int, ratio: float) -> int:
    """How many synthetic frames stand beside the real ones; UsageError where there are fewer, or nothing at all."""
    count = round(real * (1.0 - ratio) / ratio) if ratio > 0 else synthetic
    if count > synthetic:
        raise UsageError(
            f"ratio {ratio}: {count} synthetic frames beside {real} real ones asked for, {synthetic} there;"
            f" generate more, or choose a ratio of at least {real / (real + synthetic):.4f}"
        )
    if real + count == 0:
        raise UsageError(f"ratio {ratio}: no frame; expected real ones, or synthetic ones below a ratio of 1")
    return count
