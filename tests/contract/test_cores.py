"""Cores are counted as a container's quota and the user allow them."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract import cores as module
from contract.cores import cores, cpu_quota, limit_cores


def test_a_quota_of_version_2_is_read_in_the_group_and_around_it(tmp_path: Path) -> None:
    (tmp_path / "pod/own").mkdir(parents=True)
    (tmp_path / "pod/cpu.max").write_text("150000 100000\n")
    (tmp_path / "pod/own/cpu.max").write_text("max 100000\n")
    (tmp_path / "self").write_text("0::/pod/own\n")
    assert cpu_quota(tmp_path, tmp_path / "self") == 1.5


def test_a_quota_of_version_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "cpu/box").mkdir(parents=True)
    (tmp_path / "cpu/box/cpu.cfs_quota_us").write_text("200000")
    (tmp_path / "cpu/box/cpu.cfs_period_us").write_text("100000")
    (tmp_path / "self").write_text("4:cpu:/box\n3:memory:/elsewhere\n")
    assert cpu_quota(tmp_path, tmp_path / "self") == 2.0


@pytest.mark.parametrize("content", ["max 100000", "", "150000 0", "-1 100000", "plenty"])
def test_no_limit_and_nonsense_are_no_quota(content: str, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert cpu_quota(tmp_path, tmp_path / "absent") is None


@pytest.mark.parametrize(("quota", "expected"), [("50000 100000", 1), ("100000 100000", 1), ("99900000 100000", None)])
def test_cores_are_the_smallest_limit(
    quota: str, expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlimited = cores()
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(module, "CGROUPS", tmp_path)
    assert cores() == (expected or unlimited)


def test_a_limit_holds_until_it_is_lifted() -> None:
    unlimited = cores()
    limit_cores(1)
    assert cores() == 1
    limit_cores(None)
    assert cores() == unlimited
