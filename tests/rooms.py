"""The rooms of the house and what each may import of the others.

One set of data serves the import test and the picture in docs/architecture.md, so that neither can drift.
"""

from __future__ import annotations

ROOMS: dict[str, set[str]] = {
    "contract": set(),
    "pictures": {"contract"},
    "sources": {"contract", "pictures"},
    "models": {"contract"},
    "training": {"contract", "pictures", "sources", "models"},
    "export": {"contract", "models"},
    "runtime": {"contract", "pictures"},
    "fleet": {"contract", "pictures", "runtime"},
    "audit": {"contract", "pictures", "sources", "models", "training", "export", "runtime", "fleet"},
    "benchmarks": {"contract", "pictures", "sources", "models", "training", "export", "runtime", "fleet", "audit"},
}
"""What each folder may import of the others; every import goes one way."""

EXCEPTIONS = {"export/parity.py": {"runtime"}}
"""Files that may import more than their room: exported graphs are compared through the runtime itself."""

PURPOSE = {
    "contract": "what several rooms agree on",
    "pictures": "grids of captioned images",
    "sources": "labelled frames",
    "models": "networks, checkpoints, importers",
    "training": "one loop, three losses",
    "export": "checkpoint → bundle",
    "runtime": "bundle → frames with labels",
    "fleet": "the same on many machines",
    "audit": "what the frames are worth",
    "benchmarks": "does the speed still hold",
}
"""A few words for each room."""

VEHICLE = ("contract", "pictures", "runtime")
"""What travels to a vehicle: no torch."""


def arrows() -> list[tuple[str, str, bool]]:
    """(from, to, exception) of the arrows to draw: one that follows from others is left out."""
    direct = []
    for room, allowed in ROOMS.items():
        beyond = set().union(*(ROOMS[other] for other in allowed)) if allowed else set()
        direct += [(room, other, False) for other in ROOMS if other in allowed - beyond]
    return direct + [(path.split("/")[0], room, True) for path, rooms in EXCEPTIONS.items() for room in sorted(rooms)]
