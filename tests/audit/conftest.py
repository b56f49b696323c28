"""A checkpoint of a few KB that carries an annotator, both with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.checkpoint import write_checkpoint
from tests.tiny_checkpoint import annotated_checkpoint


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "tiny.pt"
    write_checkpoint(path, annotated_checkpoint())
    return path
