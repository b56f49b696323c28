"""Every attack that can be run on what there is, and why the others can't.

result = audit(evidence, Targets(model=model, shadows=shadows, generated=generated))
result.headline                                     # upper bound of the worst attack's risk
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audit.privacy.attack import BLACK_BOX, WHITE_BOX, Finding, Indices, membership_finding
from audit.privacy.attribute import attribute_findings, attribute_findings_from_frames
from audit.privacy.black_box import black_box_scores
from audit.privacy.blind import LEVEL, blind_finding
from audit.privacy.calibration import calibrate
from audit.privacy.canaries import epsilon_lower_bound
from audit.privacy.embedding import embed
from audit.privacy.evidence import Evidence
from audit.privacy.extraction import Side, find_near_copies
from audit.privacy.kept_signals import kept_signals
from audit.privacy.model import Model
from audit.privacy.subject import driver_finding
from audit.privacy.white_box import Signal, loss_signal
from audit.stats.roc import Bools
from contract.conditions import Array as Conditions
from contract.errors import Refused
from contract.frames import Frames, to_images
from contract.progress import progress_bar

VALID, INVALID = "valid", "INVALID"

NO_MODEL = "needs the model: pass a checkpoint or a bundle"
NO_SHADOWS = "needs shadow models: train them with python -m audit.privacy.shadows"
FEW_TIMESTEPS = "the model runs at too few timesteps for it"
NO_FRAMES = "needs generated frames"
NO_CANARIES = "needs a model that was trained with canaries: python -m audit.privacy.insert_canaries"
NO_FIELDS = "the schema has no field that belongs to the person"


@dataclass(frozen=True)
class Shadows:
    """Models that were trained like the target, each on a random half of the drivers."""

    models: list[Model]
    trained_on: Bools
    """[S, N]"""


@dataclass(frozen=True)
class Generated:
    """Frames of the model or data set that is audited."""

    frames: Frames
    conditions: Conditions | None = None
    rows: Indices | None = None
    """[G]: of the evidence, whose conditions they were drawn for; None where nobody knows"""
    features: Any = None
    """[G, F], of an annotator"""


@dataclass(frozen=True)
class Canaries:
    """What was inserted into training, and what wasn't."""

    frames: Frames
    conditions: Conditions
    included: Bools


@dataclass(frozen=True)
class Targets:
    """What is attacked."""

    model: Model | None = None
    shadows: Shadows | None = None
    generated: Generated | None = None
    canaries: Canaries | None = None
    features: Any = None
    """[N, F]: what the same annotator reads from the evidence"""
    delta: float = 1e-5


@dataclass(frozen=True)
class Audit:
    """What was found, what couldn't be run, and whether it means anything."""

    status: str
    blind: Finding
    findings: list[Finding]
    not_run: Mapping[str, str]
    """Attack to reason."""
    audited_epsilon: Mapping[str, Any] | None = None
    copies: list[tuple[int, int]] = field(default_factory=list)
    """(generated frame, member frame) of the nearest pairs"""

    @property
    def worst(self) -> Finding | None:
        return max(self.findings, key=lambda found: found.upper_bound(len(self.findings)), default=None)

    @property
    def headline(self) -> float | None:
        """Upper bound of the worst attack's risk, for all attacks together; None where nothing could be run."""
        return None if self.worst is None else self.worst.upper_bound(len(self.findings))


def audit(evidence: Evidence, targets: Targets, seed: int = 0, kept: Path | None = None) -> Audit:
    """Run every attack that the targets allow; signals of models that the folder `kept` holds aren't measured again."""
    population = evidence.population
    blind = blind_finding(evidence.frames, evidence.conditions, population, seed)
    findings: list[Finding] = []
    copies: list[tuple[int, int]] = []
    not_run = missing(evidence, targets)
    if targets.model is not None:
        findings += white_box(evidence, targets.model, targets.shadows, seed, kept)
        ran = {found.name for found in findings}
        not_run |= {name: FEW_TIMESTEPS for name in ("SecMI", "PIA", "SimA") if name not in ran}
    if targets.generated is not None:
        findings += black_box(evidence, targets.generated, targets.features, seed)
        try:
            copies = _copies(evidence, targets.generated, findings)
        except Refused as error:
            not_run["extraction"] = str(error)
    epsilon = None
    if targets.canaries is not None and targets.model is not None:
        others = targets.shadows.models if targets.shadows else ()
        epsilon = audit_canaries(targets.model, targets.canaries, targets.delta, others, seed)
    status = INVALID if blind.p_value <= LEVEL else VALID
    return Audit(status, blind, findings, not_run, epsilon, copies)


def white_box(
    evidence: Evidence, model: Model, shadows: Shadows | None, seed: int = 0, kept: Path | None = None
) -> Iterator[Finding]:
    """Signals as they are, calibrated where there are shadow models, by driver, and attributes."""
    population = evidence.population
    signals = kept_signals(kept, model, evidence, seed)
    named = dict(signals)
    if shadows is not None:
        named |= calibrated(signals, shadows, evidence, seed, kept)
    for name, scores in named.items():
        yield membership_finding(name, WHITE_BOX, scores, population, seed)
    for name in ("loss, calibrated", "SimA, calibrated") if shadows else ("loss", "SimA"):
        if name not in named:
            continue
        yield driver_finding(name, WHITE_BOX, named[name], population, seed)
    yield from attribute_findings(model, evidence.schema, evidence.frames, evidence.conditions, population, seed)


def calibrated(
    signals: Mapping[str, Signal], shadows: Shadows, evidence: Evidence, seed: int = 0, kept: Path | None = None
) -> dict[str, Signal]:
    """Every signal against those of the shadow models, by its name."""
    models = progress_bar(shadows.models, desc="shadow models", unit="model")
    theirs = [kept_signals(kept, shadow, evidence, seed) for shadow in models]
    return {
        f"{name}, calibrated": calibrate(own, np.stack([each[name] for each in theirs]), shadows.trained_on)
        for name, own in signals.items()
    }


def black_box(evidence: Evidence, generated: Generated, features: Any, seed: int = 0) -> Iterator[Finding]:
    """What the generated frames alone give away."""
    population = evidence.population
    both = features is not None and generated.features is not None
    spaces = embed(evidence.frames, features if both else None)
    made = embed(generated.frames, generated.features if both else None)
    scores = black_box_scores(spaces, made, population.reference)
    for name, rows in scores.items():
        yield membership_finding(name, BLACK_BOX, rows, population, seed)
    yield driver_finding("DOMIAS", BLACK_BOX, scores["DOMIAS"], population, seed)
    if generated.conditions is not None:  # a frame that was drawn for somebody's very labels would answer with them
        others = np.arange(len(generated.frames))
        if generated.rows is not None:
            others = np.flatnonzero(~population.scored[generated.rows])
        pixels, labels = made["pixels"][others], generated.conditions[others]
        own = spaces["pixels"], evidence.conditions
        yield from attribute_findings_from_frames(evidence.schema, *own, pixels, labels, population)


def audit_canaries(
    model: Model, canaries: Canaries, delta: float, others: Sequence[Model] = (), seed: int = 0
) -> dict[str, Any]:
    """A lower bound on epsilon from the model's loss on canaries, over all timesteps.

    `others` never saw a canary (shadow models, or the checkpoint that training began with); they say how easy each is.
    """
    images = to_images(canaries.frames)
    signal, *theirs = (loss_signal(each, images, canaries.conditions, seed).mean(axis=0) for each in (model, *others))
    return epsilon_lower_bound(signal - np.mean(theirs or [0.0], axis=0), canaries.included, delta)


def missing(evidence: Evidence, targets: Targets) -> dict[str, str]:
    """Attack to the reason why it isn't run."""
    reasons: dict[str, str] = {}
    if targets.model is None:
        reasons |= dict.fromkeys(("loss", "SecMI", "PIA", "SimA", "calibrated attacks", "attributes"), NO_MODEL)
    elif targets.shadows is None:
        reasons["calibrated attacks"] = NO_SHADOWS
    if targets.generated is None:
        reasons |= dict.fromkeys(("DOMIAS", "calibrated distance", "extraction"), NO_FRAMES)
    if targets.canaries is None or targets.model is None:
        reasons["canaries"] = NO_CANARIES
    if not any(field.personal for field in evidence.schema.fields):
        reasons["attributes"] = NO_FIELDS
    return reasons


def _copies(evidence: Evidence, generated: Generated, findings: list[Finding]) -> list[tuple[int, int]]:
    made, own = embed(generated.frames)["pixels"], embed(evidence.frames)["pixels"]
    sides = (Side(own[side], evidence.drivers[side]) for side in evidence.sides)
    found = find_near_copies(made, *sides)
    findings.append(found.finding)
    return found.pairs
