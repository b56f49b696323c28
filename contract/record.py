"""Frozen dataclasses that are stored as JSON values, and the one way in which such values are checked.

    @dataclass(frozen=True)
    class Noise(Record):
        WHAT = "noise settings"
        timesteps: Annotated[int, Meta(ge=1, le=1000)]

    Noise.from_dict({"timesteps": 0})      # Refused: noise settings: timesteps 0; expected `int` >= 1

msgspec checks types and ranges by the annotations; what fields say of each other is checked in `__post_init__`, which
raises ValueError. A key that no field is named after is refused, and so is a number that isn't finite.
"""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, TypeVar

import msgspec

from contract.errors import Refused

R = TypeVar("R", bound="Record")

SHOWN = 60
QUOTED = reprlib.Repr()
QUOTED.maxlevel, QUOTED.maxstring, QUOTED.maxother, QUOTED.maxlong = 3, 4 * SHOWN, 4 * SHOWN, 4 * SHOWN
"""Characters of a value that an error message quotes."""


class Record:
    """Base of a frozen dataclass that is read from and written as JSON values."""

    WHAT: ClassVar[str]
    """What it is called in error messages."""

    OPTIONAL: ClassVar[frozenset[str]] = frozenset()
    """Fields that stored values may leave out; a default in Python doesn't make a field optional in a file."""

    def to_dict(self) -> dict[str, Any]:
        """JSON values (dicts, lists, numbers, texts); `from_dict` gives the record back."""
        values: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dataclasses.asdict(self)))  # type: ignore[call-overload]
        return values

    @classmethod
    def from_dict(cls: type[R], data: object) -> R:
        """The record of these values; Refused, in one line, where one is missing, unknown or not as declared."""
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        missing = [n for n in names if isinstance(data, Mapping) and n not in data and n not in cls.OPTIONAL]
        if missing:
            raise Refused(f"{cls.WHAT}: without {', '.join(missing)}; expected {', '.join(names)}")
        return convert(data, cls, cls.WHAT)


T = TypeVar("T")


def convert(data: object, kind: type[T], what: str) -> T:
    """JSON values as an object of that dataclass or msgspec type, strictly; Refused names the first fault."""
    try:
        found = msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise Refused(f"{what}: {_explained(str(error), data)}") from error
    except UnicodeError as error:
        raise Refused(f"{what}: a text that isn't Unicode; expected UTF-8") from error
    for fault in _faults(data, msgspec.to_builtins(found)):
        raise Refused(f"{what}: {fault}")
    return found


_WORDS: dict[str, str] = {}
"""What patterns mean, for error messages."""


def text(pattern: str, words: str) -> msgspec.Meta:
    """For annotations: a text that matches the whole pattern, which error messages call `words`."""
    whole = rf"^(?:{pattern})\Z"
    _WORDS[whole] = words
    return msgspec.Meta(pattern=whole)


def one_of(*names: str) -> msgspec.Meta:
    """For annotations: a text that is one of these names."""
    return text("|".join(map(re.escape, names)), "one of " + ", ".join(name or "''" for name in names))


def short(value: object) -> str:
    """A value as an error message quotes it."""
    text = " ".join(QUOTED.repr(value).split())  # of nested lists no more than is shown
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _faults(data: object, kept: object, path: str = "") -> Iterator[str]:
    """Keys that conversion ignored, and numbers that aren't finite, wherever they are."""
    if isinstance(data, Mapping) and isinstance(kept, Mapping):
        for key, value in data.items():
            if key not in kept:
                yield f"{path}{short(key)} is an unknown key; expected {', '.join(map(str, kept))}"
            else:
                yield from _faults(value, kept[key], f"{path}{key}.")
    elif isinstance(data, (list, tuple)) and isinstance(kept, (list, tuple)):
        for value, other in zip(data, kept, strict=True):
            yield from _faults(value, other, path)
    elif isinstance(data, float) and not math.isfinite(data):
        yield f"{path.rstrip('.')} {data}; expected a finite number"


def _explained(message: str, data: object) -> str:
    """msgspec's message with the place first and what was found there: `image.height 0; expected int >= 1`."""
    expected, _, place = message.partition(" - at ")
    expected = next((f"Expected {words}" for pattern, words in _WORDS.items() if repr(pattern) in expected), expected)
    expected = expected[:1].lower() + expected[1:].replace("`", "")
    path = place.removeprefix("`key` in ").strip("`").removeprefix("$").lstrip(".")
    if place.startswith("`key`"):
        return f"a key of {path}; {expected}"
    value: Any = data
    for key in re.findall(r"[^.\[\]]+", path):
        listed = isinstance(value, (list, tuple)) and key.isdigit()
        value = value[int(key)] if listed else value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, (list, tuple)):
        path += f" with {len(value)} values"
    elif isinstance(value, (str, int, float)):
        path += f" {short(value)}"
    return f"{path.strip()}; {expected}" if path else expected
