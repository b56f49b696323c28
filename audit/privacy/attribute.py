"""Attribute inference: does the model help to guess what belongs to a person, given the frame and all its other labels?

    findings = attribute_findings(model, schema, frames, conditions, population)    # one for each personal field

White box: the guess is the value under which the model recovers the frame best. Much of it can be seen in the frame
itself; so the control arm guesses for people whom the model has never seen, and the baseline guesses the most frequent
value.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from audit.privacy.attack import BLACK_BOX, WHITE_BOX, Counts, Finding, Indices, Population, gain_of
from audit.privacy.model import Model
from audit.privacy.white_box import loss_signal
from audit.stats.bootstrap import Array, group_resamples
from audit.stats.neighbours import nearest
from audit.stats.roc import Bools
from contract.conditions import Array as Conditions
from contract.conditions import Schema
from contract.field import Field, Value
from contract.frames import Frames, to_images
from contract.progress import progress_bar

PARTS = 3
"""Of a number's range; which of them it lies in is guessed."""


def attribute_findings(
    model: Model, schema: Schema, frames: Frames, conditions: Conditions, population: Population, seed: int = 0
) -> Iterator[Finding]:
    """White box: one finding for each field of the schema that belongs to the person."""
    chosen = population.scored
    images, vectors = to_images(frames[chosen]), conditions[chosen]
    for field in progress_bar(_personal(schema), desc="personal fields", unit="field"):
        candidates, truth = _candidates(field), _classes(field, vectors)
        signals = []
        for value in candidates:
            changed = vectors.copy()
            changed[:, field.slots] = field.encode(value)
            signals.append(loss_signal(model, images, changed, seed).mean(axis=0))
        guesses = np.argmax(signals, axis=0)
        yield _finding(f"attribute {field.name}", WHITE_BOX, guesses == truth, truth, population)


def attribute_findings_from_frames(
    schema: Schema,
    space: Array,
    conditions: Conditions,
    generated: Array,
    generated_conditions: Conditions,
    population: Population,
) -> Iterator[Finding]:
    """Black box: the guess is the value of the nearest generated frame, by rows of one space."""
    chosen = population.scored
    _, index = nearest(space[chosen], generated, 1)
    for field in _personal(schema):
        truth, known = _classes(field, conditions[chosen]), _classes(field, generated_conditions)
        yield _finding(f"attribute {field.name} from frames", BLACK_BOX, known[index[:, 0]] == truth, truth, population)


def _finding(name: str, access: str, right: Bools, truth: Indices, population: Population) -> Finding:
    members, drivers = population.members[population.scored], population.drivers[population.scored]
    weights, success = group_resamples(drivers), right.astype(np.float64)
    rates = [_rates(weights[:, side], success[side]) for side in (members, ~members)]
    both = np.isfinite(rates[0]) & np.isfinite(rates[1])
    counts = [Counts(int(right[side].sum()), int(side.sum())) for side in (members, ~members)]
    frequent = np.bincount(truth[~members]).argmax()
    return Finding(
        name=name,
        access=access,
        main=counts[0],
        control=counts[1],
        baseline=float((truth[members] == frequent).mean()),
        gain=float(gain_of(np.array(counts[0].rate), np.array(counts[1].rate))),
        gains=gain_of(rates[0], rates[1]),
        drivers=(len(np.unique(drivers[members])), len(np.unique(drivers[~members]))),
        p_value=float((1 + (rates[0] <= rates[1])[both].sum()) / (1 + both.sum())),
    )


def _rates(weights: Array, success: Array) -> Array:
    """Share of successes in each resample [R], of weights [R, N]; NaN where it has no frame of this side."""
    drawn = weights.sum(axis=1)
    rates: Array = np.divide(weights @ success, drawn, out=np.full(len(drawn), np.nan), where=drawn > 0)
    return rates


def _personal(schema: Schema) -> list[Field]:
    return [field for field in schema.fields if field.personal]


def _candidates(field: Field) -> list[Value]:
    if field.is_class:
        return list(field.values)
    return [field.low + (field.high - field.low) * (part + 0.5) / PARTS for part in range(PARTS)]


def _classes(field: Field, vectors: Conditions) -> Indices:
    """The class that each frame has, or the part of a number's range: int64 [N]."""
    values = [field.decode(row) for row in vectors[:, field.slots].astype(np.float64)]
    if field.is_class:
        return np.array([field.values.index(str(value)) for value in values])
    shares = (np.array(values, float) - field.low) / (field.high - field.low)
    return np.minimum((shares * PARTS).astype(np.int64), PARTS - 1)
