"""Drawn frames that stand for real and for synthetic ones, and one whole experiment on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from audit.utility import __main__ as utility
from tests.audit.utility.drawn_drivers import write_drivers

SIZES = ("--training", "100", "--extra", "300", "--validation", "100", "--test", "200", "--seeds", "2")
BUDGET = ("--size", "16", "--samples", "1600", "--batch", "32", "--workers", "1")
FLAGS = (*SIZES, *BUDGET)


class Folders(NamedTuple):
    """Where the frames are."""

    real: Path
    synthetic: Path


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    place = tmp_path_factory.mktemp("utility")
    origin = {"renderer": "drawn", "domain": {"name": "cabin"}}
    return Folders(
        write_drivers(place / "real", 1000),
        write_drivers(place / "synthetic", 500, seed=7, shift=8.0, origin=origin),
    )


class Experiment(NamedTuple):
    """A finished run of the command."""

    output: Path
    report: dict[str, Any]


@pytest.fixture(scope="session")
def experiment(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    output = tmp_path_factory.mktemp("experiment") / "out"
    argv = [str(folders.real), "--synthetic", str(folders.synthetic), "-o", str(output), *FLAGS]
    assert utility.main(argv) == 0
    return Experiment(output, json.loads((output / "utility.json").read_text()))
