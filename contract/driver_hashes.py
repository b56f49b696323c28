"""Which drivers were trained on, without their names: salted hashes, so that a deletion request finds what it touches.

    drivers = hash_drivers(["anna", "ben"], salt=source.fingerprint)   # {"salt": "5e0c…", "count": 2, "hashes": "1f…"}
    trained_on({"drivers": drivers}, "anna")                           # True: of any step of a lineage
    seen_drivers({"drivers": drivers}, ["anna", "carl"])               # ["anna"]
    stated_once(lineage)                                               # as a file holds it

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

OTHERS = ("before", "critic", "distilled", "annotator")
"""Keys under which a step of a lineage holds other steps."""


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
    """The drivers of these keys on whom any step was trained, as far as it says so; sorted, each once.

    The lineage has to be whole: a step of it may refer to another one's hashes (`stated_once`).
    """
    steps = [known for step in training_steps(lineage) if (known := _hashes(step.get("drivers")))]
    return sorted(key for key in set(keys) if any(_hash(known.salt, key) in known.hashes for known in steps))


def lists_drivers(lineage: object) -> bool:
    """Whether every step of a lineage says whom it was trained on."""
    said = [step.get("drivers") for step in training_steps(lineage)]
    known = [_hashes(drivers) for drivers in said]
    salts = {hashes.salt for hashes in known if hashes}
    listed = (hashes or _referred(drivers) in salts for drivers, hashes in zip(said, known, strict=True))
    return bool(said) and all(listed)


def training_steps(lineage: object) -> Iterator[Mapping[str, Any]]:
    """A lineage, what it began with, its distillations, and the annotators that judged it or that it carries."""
    if not isinstance(lineage, Mapping):
        return
    yield lineage
    for name in OTHERS:
        other = lineage.get(name)
        for each in other if isinstance(other, list) else [other]:
            yield from training_steps(each)


def stated_once(lineage: Mapping[str, Any]) -> dict[str, Any]:
    """The lineage with the hashes of each data set in one place: any other step of it has `salt` and `count` alone.

    Checkpoints that go on from each other learn from the same drivers over and over. The carried annotator comes last,
    since it isn't handed on (`training.lineage.start_lineage`): nothing that is may refer to it.
    """
    stated: dict[str, str] = {}

    def copy(step: Any) -> Any:
        if isinstance(step, list):
            return [copy(each) for each in step]
        if not isinstance(step, Mapping):
            return step
        said, drivers = dict(step), step.get("drivers")
        if isinstance(drivers, Mapping) and _hashes(drivers):
            salt, hashes = drivers["salt"], drivers["hashes"]
            if stated.get(salt) == hashes:
                said["drivers"] = {name: value for name, value in drivers.items() if name != "hashes"}
            stated.setdefault(salt, hashes)
        return said | {name: copy(said[name]) for name in OTHERS if name in said}

    once: dict[str, Any] = copy(lineage)
    return once


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


def _referred(drivers: object) -> str | None:
    """The salt of hashes that another step states, None where it isn't such a reference."""
    if not isinstance(drivers, Mapping) or "hashes" in drivers or not isinstance(salt := drivers.get("salt"), str):
        return None
    return salt


def _hash(salt: str, key: str) -> str:
    return hashlib.sha256(f"{salt}:{key}".encode()).hexdigest()[:DIGITS]
