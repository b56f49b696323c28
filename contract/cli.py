"""Command lines whose mistakes end in one line and exit status 2, like every other error.

    parser = Parser(prog="python -m runtime.generate", description=__doc__)
    parser.add_argument("-n", type=integer(1, 100))

The exit status is what `contract.errors.run_command` makes of the UsageError.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn

from contract.errors import UsageError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of printing its whole usage and leaving."""

    def __init__(self, *, prog: str, description: str, epilog: str) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, epilog=epilog, formatter_class=layout, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def integer(low: int, high: int) -> Callable[[str], int]:
    """An argument type: an integer from `low` to `high`."""

    def parse(text: str) -> int:
        number = int(text) if len(text) <= 20 and text.lstrip("-").isdecimal() else None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text[:40]}: expected an integer from {low} to {high}")
        return number

    return parse


def number(low: float, high: float, expected: str = "", ends: str = "[]") -> Callable[[str], float]:
    """An argument type: a number from `low` to `high`, beyond an end whose bracket in `ends` is a parenthesis."""
    expected = expected or f"a number from {low:g} to {high:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        inside = low <= value <= high and (value, ends[0]) != (low, "(") and (value, ends[1]) != (high, ")")
        if not inside:
            raise argparse.ArgumentTypeError(f"{text[:40]}: expected {expected}")
        return value

    return parse
