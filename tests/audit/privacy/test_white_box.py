"""Signals of a model, calibrated, through torch and through a bundle's step graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from audit.privacy.attribute import attribute_findings
from audit.privacy.calibration import calibrate, half_of_drivers
from audit.privacy.evidence import Evidence
from audit.privacy.model import TorchModel, open_model
from audit.privacy.white_box import membership_signals
from audit.stats.roc import auc
from contract.errors import Refused
from models.checkpoint import Checkpoint

PARITY = 0.01
"""AUC may differ by that much between torch and the step graph: float32 in another order."""


def test_a_network_that_remembers_is_flagged_by_each(memorising: Checkpoint, evidence: Evidence) -> None:
    signals = membership_signals(TorchModel(memorising, 4), evidence.frames, evidence.conditions)
    best = {name: max(auc(row, evidence.members)[0] for row in rows) for name, rows in signals.items()}
    assert min(best["loss"], best["PIA"], best["SimA"]) > 0.9
    assert best["SecMI"] > 0.5  # four timesteps are far apart for it; the self-test has its figure


def test_a_bundle_gives_the_same_figures(checkpoint: Path, evidence: Evidence, tmp_path: Path) -> None:
    from export.__main__ import main as export

    assert export([str(checkpoint), "-o", str(tmp_path / "bundle"), "--steps", "4"]) == 0
    torch_model, graph = open_model(checkpoint, 4), open_model(tmp_path / "bundle")
    assert torch_model.alpha_bar == pytest.approx(graph.alpha_bar)
    found = [membership_signals(model, evidence.frames, evidence.conditions) for model in (torch_model, graph)]
    for name, rows in found[0].items():
        for ours, theirs in zip(rows, found[1][name], strict=True):
            assert auc(ours, evidence.members)[0] == pytest.approx(auc(theirs, evidence.members)[0], abs=PARITY), name


def test_calibration_takes_out_what_is_easy_for_every_model() -> None:
    """Frames differ far more by how easy they are than by membership."""
    generator, frames, shadows = np.random.default_rng(0), 400, 8
    drivers = np.arange(frames)
    easy, members = generator.normal(0.0, 10.0, frames), drivers < 200
    trained_on = np.stack([half_of_drivers(drivers, 3, number) for number in range(shadows)])
    signal = (easy + members + 0.3 * generator.normal(size=frames))[None]
    theirs = np.stack([(easy + rows + 0.3 * generator.normal(size=frames))[None] for rows in trained_on])
    raw, calibrated = auc(signal[0], members)[0], auc(calibrate(signal, theirs, trained_on)[0], members)[0]
    assert raw < 0.6 < 0.95 < calibrated


def test_halves_complement_each_other() -> None:
    drivers = np.repeat(np.arange(10), 3)
    even, odd = (half_of_drivers(drivers, 1, number) for number in (4, 5))
    assert (even ^ odd).all() and even.sum() == 15


def test_too_few_shadows() -> None:
    trained_on = np.stack([half_of_drivers(np.arange(8), 0, number) for number in (0, 1)])
    with pytest.raises(Refused, match="1 shadow models left out"):
        calibrate(np.zeros((1, 8)), np.zeros((2, 1, 8)), trained_on)


def test_attributes_have_a_control_arm(memorising: Checkpoint, evidence: Evidence) -> None:
    """The mark of a group can be seen in the frame itself, of strangers as well."""
    (found,) = attribute_findings(
        TorchModel(memorising, 4), evidence.schema, evidence.frames, evidence.conditions, evidence.population
    )
    assert found.name == "attribute group" and found.main.attempts and found.control.attempts
    assert 0.0 <= found.risk <= found.upper_bound(1) <= 1.0
