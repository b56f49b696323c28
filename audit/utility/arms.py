"""The arms of the experiment: what each of them trains on, and everything else the same.

arms = arms_of(plan.protocol, len(splits.more), synthetic=True, private=False)
phases = training_frames("oversampled", pools, seed=0)        # frames, one set after the other
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from audit.utility.inputs import LabelledSet, task_frames
from audit.utility.plan import SPLIT_TOPIC, Plan, Protocol, Splits
from audit.utility.selection import Rows, balanced, fill
from contract.errors import Refused
from contract.frames import to_frames
from contract.noise import stream
from sources.base import LabelledFrames
from training.annotator_loss import Targets, augment
from training.batches import as_images
from training.hybrid import strata_of

ARM_TOPIC = 41
"""Random stream of an arm: which frames it takes, and how it changes them."""

SET_ASIDE = 1000
"""Synthetic frames, where there are more than arms need, that none trains on: what classifiers make of them shows
whether their labels are right."""

PIECE = 20
"""Frames that are augmented at once: they are moved alike."""

REAL, MORE = "real", "more_real"
OVERSAMPLED, AUGMENTED, BOTH = "oversampled", "augmented", "oversampled_and_augmented"
WITH_SYNTHETIC, SYNTHETIC, PRE_TRAINED = "real_and_synthetic", "synthetic", "synthetic_then_real"
WITH_AUGMENTED = "real_and_augmented_synthetic"
WITH_PRIVATE, PRIVATE = "real_and_private", "private"

BASELINES = (OVERSAMPLED, AUGMENTED, BOTH)
"""What costs no frame: synthetic frames have to beat the best of these."""

TESTED = (WITH_SYNTHETIC, WITH_AUGMENTED, PRE_TRAINED, SYNTHETIC, WITH_PRIVATE, PRIVATE)
"""Arms with synthetic frames, which are compared with arms without."""


@dataclass(frozen=True)
class Pools:
    """Everything that arms draw from."""

    plan: Plan
    real: LabelledSet
    splits: Splits
    synthetic: LabelledSet | None = None
    private: LabelledSet | None = None

    def __post_init__(self) -> None:
        needed = self.plan.protocol.total
        for found in (self.synthetic, self.private):
            if found and len(found.frames.frames) < needed:
                have = len(found.frames.frames)
                raise Refused(f"{found.name}: {have} frames; expected {needed}, or a plan with a smaller --extra")


def set_aside(found: LabelledSet, protocol: Protocol) -> tuple[Rows, Rows]:
    """Rows of synthetic frames that arms may train on, and of up to SET_ASIDE others, as far as there are more."""
    count = len(found.frames.frames)
    spare = min(SET_ASIDE, count - protocol.total)
    order = stream(protocol.split_seed, 2, SPLIT_TOPIC).permutation(count)
    return np.sort(order[spare:]), np.sort(order[:spare])


def arms_of(protocol: Protocol, more_real: int, synthetic: bool, private: bool) -> dict[str, str]:
    """Names of the arms and what they are called in tables; `more_real` is how many frames the ceiling can add."""
    real, more, total = protocol.training, protocol.extra, protocol.total
    arms = {
        REAL: f"{real} real",
        OVERSAMPLED: f"{real} real, oversampled to {total}",
        AUGMENTED: f"{real} real, augmented to {total}",
        BOTH: f"{real} real, oversampled and augmented to {total}",
    }
    if synthetic:
        arms[WITH_SYNTHETIC] = f"{real} real + {more} synthetic"
        arms[WITH_AUGMENTED] = f"{real} real + {more} synthetic, augmented"
        arms[SYNTHETIC] = f"{total} synthetic"
        arms[PRE_TRAINED] = f"{more} synthetic, then {real} real"
    if private:
        arms[WITH_PRIVATE] = f"{real} real + {more} private synthetic"
        arms[PRIVATE] = f"{total} private synthetic"
    if more_real:
        arms[MORE] = f"{real + min(more, more_real)} real (ceiling)"
    return arms


def training_frames(arm: str, pools: Pools, seed: int) -> tuple[LabelledFrames, ...]:
    """What an arm trains on, in phases of equally many steps; seeded by arm and seed."""
    random = stream(seed, zlib.crc32(arm.encode()), ARM_TOPIC)
    return _ARMS[arm](pools, random)


def _real(pools: Pools, random: np.random.Generator) -> tuple[LabelledFrames, ...]:
    return (_rows(pools.real, pools.splits.training),)


def _oversampled(pools: Pools, random: np.random.Generator) -> tuple[LabelledFrames, ...]:
    return (_rows(pools.real, _balanced_rows(pools, random)),)


def _augmented(pools: Pools, random: np.random.Generator) -> tuple[LabelledFrames, ...]:
    protocol, training = pools.plan.protocol, pools.splits.training
    repeated = np.resize(training, protocol.total)
    return (augmented(_rows(pools.real, repeated), protocol.training, random),)


def _oversampled_and_augmented(pools: Pools, random: np.random.Generator) -> tuple[LabelledFrames, ...]:
    rows = _balanced_rows(pools, random)
    _, firsts = np.unique(rows, return_index=True)
    ordered = np.concatenate([rows[firsts], np.delete(rows, firsts)])
    return (augmented(_rows(pools.real, ordered), len(firsts), random),)


def _more_real(pools: Pools, random: np.random.Generator) -> tuple[LabelledFrames, ...]:
    more = pools.splits.more
    extra = _filling(pools, pools.real, more, min(len(more), pools.plan.protocol.extra), random)
    return (_rows(pools.real, np.concatenate([pools.splits.training, extra])),)


def _with(pools: Pools, other: LabelledSet | None, random: np.random.Generator) -> tuple[LabelledFrames, ...]:
    found, every = _there(pools, other)
    extra = _filling(pools, found, every, pools.plan.protocol.extra, random)
    return (joined(_rows(pools.real, pools.splits.training), _rows(found, extra)),)


def _with_augmented(pools: Pools, random: np.random.Generator) -> tuple[LabelledFrames, ...]:
    (both,) = _with(pools, pools.synthetic, random)
    return (augmented(both, pools.plan.protocol.training, random),)


def _alone(pools: Pools, other: LabelledSet | None, random: np.random.Generator) -> tuple[LabelledFrames, ...]:
    found, every = _there(pools, other)
    extra = _filling(pools, found, every, pools.plan.protocol.total, random, onto_real=False)
    return (_rows(found, extra),)


def _pre_trained(pools: Pools, random: np.random.Generator) -> tuple[LabelledFrames, ...]:
    found, every = _there(pools, pools.synthetic)
    extra = _filling(pools, found, every, pools.plan.protocol.extra, random)
    return _rows(found, extra), _rows(pools.real, pools.splits.training)


_ARMS: Mapping[str, Callable[[Pools, np.random.Generator], tuple[LabelledFrames, ...]]] = {
    REAL: _real,
    OVERSAMPLED: _oversampled,
    AUGMENTED: _augmented,
    BOTH: _oversampled_and_augmented,
    WITH_SYNTHETIC: lambda pools, random: _with(pools, pools.synthetic, random),
    WITH_AUGMENTED: _with_augmented,
    SYNTHETIC: lambda pools, random: _alone(pools, pools.synthetic, random),
    PRE_TRAINED: _pre_trained,
    WITH_PRIVATE: lambda pools, random: _with(pools, pools.private, random),
    PRIVATE: lambda pools, random: _alone(pools, pools.private, random),
    MORE: _more_real,
}


def augmented(source: LabelledFrames, untouched: int, random: np.random.Generator) -> LabelledFrames:
    """The frames but the first `untouched` mirrored, moved, blurred, exposed otherwise and noisy, at random."""
    targets, pieces = Targets.of(source), [source.frames[:untouched]]
    for first in range(untouched, len(source.frames), PIECE):
        rows = slice(first, first + PIECE)
        images, _ = augment(as_images(source.frames[rows]), targets.rows(rows), int(random.integers(2**62)))
        pieces.append(to_frames(images.numpy()))
    return replace(source, frames=np.concatenate(pieces))


def joined(first: LabelledFrames, second: LabelledFrames) -> LabelledFrames:
    """Both, the second after the first; drivers are forgotten, since two sets may number them alike."""
    return replace(
        first,
        frames=np.concatenate([first.frames, second.frames]),
        conditions=np.concatenate([first.conditions, second.conditions]),
        hidden=np.concatenate([first.hidden, second.hidden]),
        subjects=None,
    )


def shuffled(source: LabelledFrames, random: np.random.Generator) -> LabelledFrames:
    """The frames with each other's labels: whatever is learnt from them is chance."""
    order = random.permutation(len(source.frames))
    return replace(source, conditions=source.conditions[order], hidden=source.hidden[order])


def _balanced_rows(pools: Pools, random: np.random.Generator) -> Rows:
    training, protocol = pools.splits.training, pools.plan.protocol
    classes = [pools.real.classes(task)[training] for task in pools.plan.tasks]
    return training[balanced(classes, protocol.total, random)]


def _filling(
    pools: Pools, found: LabelledSet, among: Rows, count: int, random: np.random.Generator, onto_real: bool = True
) -> Rows:
    """Rows of a set that fill what the real training frames lack."""
    names = sorted({*pools.plan.tasks, *pools.plan.driving.shares})
    pool, real = strata_of(found.frames, names), strata_of(pools.real.frames, names)
    there = [real[row] for row in pools.splits.training] if onto_real else []
    return among[fill(there, [pool[row] for row in among], count, random)]


def _rows(found: LabelledSet, rows: Rows) -> LabelledFrames:
    source = task_frames(found)
    subjects = None if source.subjects is None else source.subjects[rows]
    return replace(
        source,
        frames=source.frames[rows],
        conditions=source.conditions[rows],
        hidden=source.hidden[rows],
        subjects=subjects,
    )


def _there(pools: Pools, other: LabelledSet | None) -> tuple[LabelledSet, Rows]:
    """A synthetic set, and which of its frames may be trained on."""
    assert other is not None, "an arm without its frames"
    return other, set_aside(other, pools.plan.protocol)[0]
