"""Flags that the audit and its shadows share.

add_evidence_flags(parser.add_argument)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contract.cli import integer
from contract.noise import SEEDS
from sources.options import add_schema_flag


def add_evidence_flags(add: Any) -> None:
    """The flags that say what the figures are about, the same for shadows and audit."""
    add("--members", type=Path, required=True, metavar="FOLDER", help="frames that were trained on")
    add("--non-members", type=Path, required=True, metavar="FOLDER", help="frames of other drivers, likewise made")
    add_schema_flag(add)
    add("--limit", type=integer(100, 10**7), default=4000, metavar="N", help="frames of each at most (4000)")
    add("--seed", type=integer(0, SEEDS - 1), default=0, metavar="S", help="of splits and noise (0)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where torch runs (cpu)")
