"""One process holds a lock; where the file system has none, that is said and nothing fails."""

from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from contract.errors import Refused
from contract.locks import UNSUPPORTED, NoLocks, lock_folder, try_lock


def test_a_second_holder_is_turned_away(tmp_path: Path) -> None:
    with open(tmp_path / "a", "wb") as first, open(tmp_path / "a", "rb") as second:
        assert try_lock(first.fileno())
        assert not try_lock(second.fileno())


def test_a_folder_is_one_runs_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    with lock_folder(folder), pytest.raises(Refused, match=r"another run is writing it"), lock_folder(folder):
        pass
    with lock_folder(folder):
        assert not list(folder.iterdir())


@pytest.mark.parametrize("number", [*UNSUPPORTED, errno.EIO], ids=lambda number: errno.errorcode[number])
def test_only_missing_locks_are_excused(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(number, "as a network file system answers")

    monkeypatch.setattr(fcntl, "flock", fail)
    with open(tmp_path / "a", "wb") as file, pytest.raises(OSError) as raised:
        try_lock(file.fileno())
    assert isinstance(raised.value, NoLocks) == (number in UNSUPPORTED)


def test_a_folder_without_locks_is_taken_anyway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "as a network file system answers")

    monkeypatch.setattr(fcntl, "flock", fail)
    with lock_folder(tmp_path / "frames"), lock_folder(tmp_path / "frames"):
        assert (tmp_path / "frames").is_dir(), "it is made, and nobody is turned away"
