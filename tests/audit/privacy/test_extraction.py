"""Near copies and distances of generated frames."""

from __future__ import annotations

import numpy as np
import pytest

from audit.privacy.black_box import black_box_scores
from audit.privacy.embedding import embed
from audit.privacy.evidence import Evidence
from audit.privacy.extraction import Side, find_near_copies
from audit.privacy.miniature import draw_people
from audit.stats.roc import auc
from contract.errors import Refused
from contract.thumbnails import thumbnails


def sides(evidence: Evidence) -> tuple[Side, Side]:
    inside, outside = (Side(thumbnails(evidence.frames[side]), evidence.drivers[side]) for side in evidence.sides)
    return inside, outside


def test_exact_copies_are_all_found(evidence: Evidence) -> None:
    members, others = sides(evidence)
    found = find_near_copies(members.frames, members, others)
    assert found.finding.main.rate == 1.0
    assert all(made == own for made, own in found.pairs)
    assert found.finding.p_value < 1e-6 and found.finding.upper_bound(20) > 0.9


def test_frames_of_others_are_no_copies(evidence: Evidence) -> None:
    found = find_near_copies(thumbnails(draw_people(40, 5, seed=9).frames), *sides(evidence))
    assert found.finding.p_value > 0.05 and found.finding.upper_bound(1) < 0.35


def test_copies_of_one_driver_are_seen_among_frames_of_others(evidence: Evidence) -> None:
    """They count as one driver, and as many frames, however many frames of either arm are near by chance."""
    members, others = sides(evidence)
    fresh = thumbnails(draw_people(80, 5, seed=9).frames)
    generated = np.concatenate([fresh, np.repeat(members.frames[:1], 25, axis=0)])
    found = find_near_copies(generated, members, others)
    assert found.finding.main.successes >= 1 and found.finding.control.successes == 0
    assert found.finding.figures["closer_than_any_control"] >= 25
    assert {own for _, own in found.pairs} == {0}


def test_too_few_frames(evidence: Evidence) -> None:
    members, others = sides(evidence)
    with pytest.raises(Refused, match="10 generated frames; expected 50"):
        find_near_copies(members.frames[:10], members, others)


def test_copies_crowd_around_members(evidence: Evidence) -> None:
    """Members with a little noise, as a synthesiser that remembers would draw them; nobody is exactly copied."""
    noise = np.random.default_rng(0).normal(0.0, 6.0, evidence.frames[evidence.members].shape)
    copies = (evidence.frames[evidence.members] + noise).clip(0, 255).astype(np.uint8)
    scores = black_box_scores(embed(evidence.frames), embed(copies), evidence.population.reference)
    chosen = ~evidence.population.reference
    areas = {name: max(auc(row[chosen], evidence.members[chosen])[0] for row in rows) for name, rows in scores.items()}
    assert areas["calibrated distance"] > 0.9 and areas["DOMIAS"] > 0.7  # a density sees copies less sharply
