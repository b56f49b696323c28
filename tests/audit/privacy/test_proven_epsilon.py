"""What is proven of a model reaches the audit, and its report says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audit.privacy.__main__ import parse_args
from audit.privacy.attack import WHITE_BOX, membership_finding
from audit.privacy.audit import VALID, Audit
from audit.privacy.evidence import Evidence
from audit.privacy.report import to_html, to_report, to_text
from audit.privacy.targets import open_targets, proven_epsilon
from contract.bundle import write_manifest
from contract.errors import Refused
from runtime.generate import main as generate
from sources.base import LabelledFrames
from tests.audit.privacy.conftest import write_people
from tests.fake_bundle import write_fake_bundle

PROVEN = {"epsilon": 3.0, "delta": 1e-6, "unit": "driver"}
"""Its delta isn't the one that is taken where nothing is proven."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, evidence: Evidence) -> Path:
    """Of a private checkpoint that draws frames like the evidence's."""
    folder = tmp_path_factory.mktemp("private") / "bundle"
    manifest = write_fake_bundle(folder, evidence.schema, evidence.image)
    write_manifest(folder, replace(manifest, source={"checkpoint": "0" * 64, "lineage": PROVEN | {"data": "private"}}))
    return folder


def opened(path: Path, evidence: Evidence) -> tuple[Any, Any]:
    """What is attacked, and what is proven of it."""
    args = parse_args([str(path), "--members", "members", "--non-members", "others", "--draw", "0"])
    targets, _, proven = open_targets(args, evidence)
    return targets, proven


def test_an_epsilon_is_proven_where_the_lineage_has_it_with_delta_and_unit() -> None:
    assert proven_epsilon(PROVEN | {"data": "private", "steps": 200}) == PROVEN
    assert proven_epsilon(PROVEN | {"unit": "frame"}) == PROVEN | {"unit": "frame"}
    assert proven_epsilon({}) is proven_epsilon(dict.fromkeys(PROVEN)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "person"},
        {"unit": None},
        {"epsilon": None},
        {"epsilon": True},
        {"delta": 1.0},
        {"delta": None},
        {"delta": "1e-5"},
        {"epsilon": "3"},
        {"epsilon": -1.0},
        {"epsilon": float("nan")},
        {"epsilon": float("inf")},
    ],
)
def test_an_epsilon_that_means_nothing_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="expected numbers, delta below 1, and frame or driver"):
        proven_epsilon(PROVEN | change)


def test_a_bundle_carries_what_is_proven_and_canaries_are_judged_at_its_delta(bundle: Path, evidence: Evidence) -> None:
    targets, proven = opened(bundle, evidence)
    assert proven == PROVEN and targets.delta == PROVEN["delta"]


def test_a_data_set_carries_what_is_proven(
    bundle: Path, evidence: Evidence, insiders: LabelledFrames, tmp_path: Path
) -> None:
    """Frames of a model, and frames that evolved."""
    assert generate([str(bundle), "-o", str(tmp_path / "drawn"), "-n", "2", "--backend", "cpu"]) == 0
    evolved = write_people(tmp_path / "evolved", insiders, origin={"renderer": "miniature"} | PROVEN)
    rendered = write_people(tmp_path / "rendered", insiders, origin={"renderer": "miniature"})
    found = [opened(folder, evidence)[1] for folder in (tmp_path / "drawn", evolved, rendered)]
    assert found == [PROVEN, PROVEN, None]


def test_the_report_says_what_is_proven_beside_what_was_audited(evidence: Evidence) -> None:
    scores = np.random.default_rng(0).normal(size=(1, len(evidence.members)))
    finding = membership_finding("loss", WHITE_BOX, scores, evidence.population)
    audited = {"epsilon": 1.25, "canaries": 100, "ceiling": 4.5}
    result = Audit(VALID, finding, [finding], {}, audited)
    report = to_report(result, {}, proven_epsilon(PROVEN))
    assert report["proven_epsilon"] == PROVEN and report["audited_epsilon"] == audited
    for text in (to_text(report), to_html(report)):
        assert "proven: epsilon 3 at delta 1e-06, unit driver" in text and "proven: nothing" not in text
        assert "audited: epsilon at least 1.25, where 100 canaries can show 4.5" in text
    assert "proven: nothing; not trained with differential privacy" in to_text(to_report(result, {}, None))
