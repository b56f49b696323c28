"""Signals that an interrupted audit measured already aren't measured again, those of anything else are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from audit.privacy.evidence import Evidence
from audit.privacy.kept_signals import kept_signals
from audit.privacy.model import TorchModel, open_model
from contract.conditions import Array
from contract.frames import Images
from models.checkpoint import read_checkpoint


class Counted(TorchModel):
    """A model that knows how often it was asked."""

    asked = 0

    def predict_x0(self, x: Images, step: int, condition: Array) -> Images:
        self.asked += 1
        return super().predict_x0(x, step, condition)


@pytest.fixture
def model(checkpoint: Path) -> Counted:
    return Counted(read_checkpoint(checkpoint), 3)


def test_the_second_time_the_model_isnt_asked(model: Counted, evidence: Evidence, tmp_path: Path) -> None:
    first = kept_signals(tmp_path, model, evidence)
    asked = model.asked
    again = kept_signals(tmp_path, model, evidence)
    assert asked > 0 and model.asked == asked and list(again) == list(first)
    assert all(np.array_equal(again[name], rows) for name, rows in first.items())
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    assert np.array_equal(kept_signals(tmp_path, model, evidence)["loss"], first["loss"]) and model.asked == 2 * asked


def test_another_seed_evidence_or_model_is_measured(
    model: Counted, checkpoint: Path, evidence: Evidence, tmp_path: Path
) -> None:
    kept_signals(tmp_path, model, evidence)
    other = replace(evidence, frames=evidence.frames ^ 1)
    for asked in ((model, evidence, 1), (model, other, 0), (open_model(checkpoint, 4), evidence, 0)):
        before = len(list(tmp_path.iterdir()))
        kept_signals(tmp_path, *asked)
        assert len(list(tmp_path.iterdir())) == before + 1


def test_nothing_is_kept_without_a_folder(model: Counted, evidence: Evidence) -> None:
    kept_signals(None, model, evidence)
    asked = model.asked
    kept_signals(None, model, evidence)
    assert model.asked == 2 * asked
