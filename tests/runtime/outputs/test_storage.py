"""A local dataset has one writer at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import Refused
from runtime.outputs.storage import LocalStorage


def test_a_second_writer_is_turned_away_until_the_first_closes(tmp_path: Path) -> None:
    first, second = LocalStorage(tmp_path / "frames"), LocalStorage(tmp_path / "frames")
    first.lock()
    first.lock()  # its own lock doesn't shut it out
    with pytest.raises(Refused, match="another run is writing it"):
        second.lock()
    first.close()
    second.lock()
    second.close()
