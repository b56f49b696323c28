"""Which drivers were trained on, without their names: salted hashes, so that a deletion request finds what it touches.

    drivers = hash_drivers(["anna", "ben"], salt=source.fingerprint)   # {"salt": "5e0c…", "count": 2, "hashes": "1f…"}
    holds_driver(drivers, "anna")                                      # True
    trained_on(lineage, "anna")                                        # of any step of a lineage

Whoever has the file and guesses a key can test it: that is what the hashes are for. So a key should be an identifier
that outsiders can't guess, and no name. A salt of each data set's own keeps two files from being joined.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

DIGITS = 16
"""Hexadecimal digits of a hash: two of a million drivers share one with a probability of 3e-8."""

SALT_DIGITS = 32


def hash_drivers(keys: Iterable[str], salt: str) -> dict[str, Any]:
    """JSON values for a lineage: the salt (derived from `salt`), how many drivers, and their hashes, one after another.

    One string, since a checkpoint's plain part is limited in values.
    """
    short = hashlib.sha256(salt.encode()).hexdigest()[:SALT_DIGITS]
    hashes = sorted({_hash(short, key) for key in keys})
    return {"salt": short, "count": len(hashes), "hashes": "".join(hashes)}


def holds_driver(drivers: object, key: str) -> bool | None:
    """Whether the driver of this key is among them; None for anything that `hash_drivers` didn't make."""
    if not isinstance(drivers, Mapping) or not isinstance(drivers.get("salt"), str):
        return None
    hashes = drivers.get("hashes")
    if not isinstance(hashes, str) or len(hashes) % DIGITS:
        return None
    wanted = _hash(drivers["salt"], key)
    return wanted in {hashes[start : start + DIGITS] for start in range(0, len(hashes), DIGITS)}


def trained_on(lineage: object, key: str) -> bool | None:
    """Whether any step of a lineage, of what it began with or of its distillation, was trained on the driver.

    None where a step doesn't say, and no other one was.
    """
    answers = [holds_driver(step.get("drivers"), key) for step in training_steps(lineage)]
    if True in answers:
        return True
    return None if None in answers or not answers else False


def training_steps(lineage: object) -> Iterator[Mapping[str, Any]]:
    """A lineage, what it began with, its distillations, and the annotators that judged it or that it carries."""
    if not isinstance(lineage, Mapping):
        return
    yield lineage
    distilled = lineage.get("distilled")
    for other in ("before", "critic", "annotator"):
        yield from training_steps(lineage.get(other))
    for round_ in distilled if isinstance(distilled, list) else []:
        yield from training_steps(round_)


def _hash(salt: str, key: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()[:DIGITS]
