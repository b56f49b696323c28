"""Which drivers were trained on, without their names: salted hashes, so that a deletion request finds what it touches.

    drivers = hash_drivers(["anna", "ben"], salt=source.fingerprint)   # {"salt": "5e0c…", "count": 2, "hashes": "1f…"}
    trained_on({"drivers": drivers}, "anna")                           # True: of any step of a lineage
    seen_drivers({"drivers": drivers}, ["anna", "carl"])               # ["anna"]

Whoever has the file and guesses a key can test it: that is what the hashes are for. So a key should be an identifier
that outsiders can't guess, and no name. A salt of each data set's own keeps two files from being joined.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

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


def trained_on(lineage: object, key: str) -> bool | None:
    """Whether any step of a lineage, of what it began with or of its distillation, was trained on the driver.

    None where a step doesn't say, and no other one was.
    """
    if seen_drivers(lineage, [key]):
        return True
    return False if lists_drivers(lineage) else None


def seen_drivers(lineage: object, keys: Iterable[str]) -> list[str]:
    """The drivers of these keys on whom any step was trained, as far as it says so; sorted, each once."""
    steps = [known for step in training_steps(lineage) if (known := _hashes(step.get("drivers")))]
    return sorted(key for key in set(keys) if any(_hash(known.salt, key) in known.hashes for known in steps))


def lists_drivers(lineage: object) -> bool:
    """Whether every step of a lineage says whom it was trained on."""
    steps = list(training_steps(lineage))
    return bool(steps) and all(_hashes(step.get("drivers")) is not None for step in steps)


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


class _Hashes(NamedTuple):
    salt: str
    hashes: frozenset[str]


def _hashes(drivers: object) -> _Hashes | None:
    """What `hash_drivers` made, taken apart; None for anything else."""
    if not isinstance(drivers, Mapping) or not isinstance(salt := drivers.get("salt"), str):
        return None
    joined = drivers.get("hashes")
    if not isinstance(joined, str) or len(joined) % DIGITS:
        return None
    return _Hashes(salt, frozenset(joined[start : start + DIGITS] for start in range(0, len(joined), DIGITS)))


def _hash(salt: str, key: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()[:DIGITS]
