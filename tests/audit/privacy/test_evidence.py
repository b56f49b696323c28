"""Whatever would make the figures mean something else is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from audit.privacy.blind import LEVEL, blind_finding
from audit.privacy.evidence import gather, read_evidence
from audit.privacy.miniature import draw_people
from contract.errors import Refused
from sources.base import LabelledFrames
from tests.audit.privacy.conftest import write_people


def test_whole_drivers_are_kept_below_the_limit(folders: Path) -> None:
    evidence = read_evidence(folders / "members", folders / "others", "cabin", limit=100)
    assert evidence.members.sum() == (~evidence.members).sum() == 100
    assert set(np.unique(evidence.drivers, return_counts=True)[1]) == {5}


def test_drivers_in_both_splits(folders: Path) -> None:
    with pytest.raises(Refused, match="26 drivers in both"):
        read_evidence(folders / "members", folders / "members", "cabin")


def test_people_of_a_renderer_are_known_in_frames_that_evolved(
    insiders: LabelledFrames, outsiders: LabelledFrames, tmp_path: Path
) -> None:
    rendered = write_people(tmp_path / "rendered", insiders, 5, {"renderer": "cabin", "domain": "cabin", "seed": 1})
    evolved = {"renderer": "cabin", "domain": "cabin", "evolution": {}}
    with pytest.raises(Refused, match="5 drivers in both"):
        read_evidence(rendered, write_people(tmp_path / "evolved", outsiders, 0, evolved), "cabin")


def test_frames_in_both_splits(insiders: LabelledFrames, outsiders: LabelledFrames) -> None:
    frames = outsiders.frames.copy()
    frames[:3] = insiders.frames[:3]
    with pytest.raises(Refused, match="3 frames are members and non-members at once"):
        gather(insiders, replace(outsiders, frames=frames))


def test_conditions_that_are_no_numbers(insiders: LabelledFrames, outsiders: LabelledFrames) -> None:
    conditions = outsiders.conditions.copy()
    conditions[2, 0] = np.nan
    with pytest.raises(Refused, match="aren't finite"):
        gather(insiders, replace(outsiders, conditions=conditions))


def test_drivers_that_nobody_knows(insiders: LabelledFrames, folders: Path) -> None:
    for sides in ((replace(insiders, subjects=None), insiders), (insiders, replace(insiders, subjects=None))):
        with pytest.raises(Refused, match="whose frames"):
            gather(*sides)


def test_too_few_drivers(tmp_path: Path, folders: Path) -> None:
    few = write_people(tmp_path / "few", draw_people(5, 30, seed=1, first=100))
    with pytest.raises(Refused, match="5 drivers among the non-members; expected 12"):
        _ = read_evidence(folders / "members", few, "cabin").population


def test_a_split_by_camera_is_seen_without_the_model(insiders: LabelledFrames, outsiders: LabelledFrames) -> None:
    fair = gather(insiders, outsiders)
    frames = insiders.frames.copy()
    frames[:, -1] = 255
    biased = gather(replace(insiders, frames=frames), outsiders)
    fair_p, biased_p = (blind_finding(e.frames, e.conditions, e.population).p_value for e in (fair, biased))
    assert biased_p <= LEVEL < fair_p
