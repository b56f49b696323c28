"""The layouts that are known, by name, and the one that a folder has."""

from __future__ import annotations

from pathlib import Path

from contract.errors import UsageError
from sources.public import columbia_gaze, dmd, drive_act, mrl_eye, nthu, sam_dd, state_farm, uta_rldd, yawdd
from sources.public.record import Layout

MODULES = (state_farm, drive_act, dmd, nthu, uta_rldd, yawdd, mrl_eye, columbia_gaze, sam_dd)
LAYOUTS: dict[str, Layout] = {module.LAYOUT.name: module.LAYOUT for module in MODULES}
"""Those with files of a name of their own come first, since folders are recognised in this order."""


def layout_named(name: str) -> Layout:
    """The layout of that name, or UsageError listing the ones there are."""
    if name not in LAYOUTS:
        raise UsageError(f"--layout {name}: expected one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def layout_of(folder: Path) -> Layout | None:
    """The layout that a folder looks like; None where it looks like none of them."""
    return next((layout for layout in LAYOUTS.values() if layout.recognises(folder)), None)
