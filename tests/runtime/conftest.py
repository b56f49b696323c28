"""Fake bundles for the whole session, and copies for tests that damage theirs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fake_bundle import write_fake_bundle
from tests.runtime.engine_bundle import install
from tests.runtime.host_cpu import openvino_problem

__all__ = ["install"]

AS_EXPORTED = shutil.ignore_patterns("verified.json")
"""What an engine was found to draw on this machine isn't part of a bundle."""


@pytest.fixture(params=["cpu", "openvino"])
def on_cpu(request: pytest.FixtureRequest) -> str:
    """Each backend that needs no GPU."""
    if request.param == "openvino" and (problem := openvino_problem()):
        pytest.skip(problem)
    return str(request.param)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that no test changes."""
    folder = tmp_path_factory.mktemp("fake") / "bundle"
    write_fake_bundle(folder)
    return folder


@pytest.fixture(scope="session")
def read_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with an annotator, which no test changes."""
    folder = tmp_path_factory.mktemp("read") / "bundle"
    write_fake_bundle(folder, annotator=True)
    return folder


@pytest.fixture
def own_read_bundle(read_bundle: Path, tmp_path: Path) -> Path:
    """A copy of that, which the test may damage."""
    return Path(shutil.copytree(read_bundle, tmp_path / "read", ignore=AS_EXPORTED))


@pytest.fixture
def own_bundle(bundle: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return Path(shutil.copytree(bundle, tmp_path / "bundle", ignore=AS_EXPORTED))
