"""Can the audit say that something leaks? It is run on models and data sets whose leaks are known.

    python -m audit.privacy --self-test
    found = self_test(SMALL)                          # {"passed": True, "checks": [{"name": ..., "passed": ...}, ...]}

Everything is a miniature and drawn here: no file is needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from audit.privacy.attack import Population, membership_finding
from audit.privacy.audit import Canaries, Shadows, Targets, audit, audit_canaries, calibrated
from audit.privacy.calibration import half_of_drivers
from audit.privacy.canaries import draw_canaries, epsilon_lower_bound
from audit.privacy.evidence import Evidence, gather
from audit.privacy.extraction import Side, find_near_copies
from audit.privacy.fit import fit
from audit.privacy.miniature import SCHEMA, PeopleSimulator, draw_people, untrained
from audit.privacy.model import TorchModel
from audit.privacy.white_box import membership_signals
from audit.stats.bootstrap import Array
from audit.stats.neighbours import nearest
from audit.stats.proportions import binomial_pmf
from contract.conditions import Array as Conditions
from contract.frames import Frames
from contract.thumbnails import thumbnails
from sources.base import LabelledFrames, fingerprint
from training.accounting import Budget
from training.dp import PrivateRecipe, fine_tune, private_optimizer
from training.evolution import EvolutionRecipe, draw_population, evolve, render_missing

STEPS = 5
"""Timesteps at which miniatures are attacked."""

MEMORISED = 0.95
"""Calibrated AUC of the best attack on a network that was overfitted on its members."""

LEAKS = (0.0, 0.01, 0.05, 0.25, 1.0)
"""Shares of the generated frames that are copies of training frames."""

SIGNIFICANCE = 0.05
"""Largest p-value at which a leak counts as found."""

SATURATED = 255
"""Level of the last row that one camera always delivers."""

POWER = 0.9
"""Share of repetitions in which a leak of 5 % has to be found."""

UNIFORM_LEVEL = 1.63
"""Kolmogorov's bound at 1 %: the largest distance from uniform, times the root of the number of p-values."""

SMALL_CLIP = 1e-5
"""Far below the norm of a gradient: the noise, which follows it, hides nothing where nobody clips."""

PRIVATE_RATE = 4e-3
"""Learning rate of DP-SGD: few steps must be enough to learn canaries where nothing protects them."""

BESIDE, STARTED = 8, 100
"""Drivers that canaries are trained on with, and batches before that: neither protects the canaries much."""

SECRET = 2
"""Of the privacy noise, so that a self-test says the same each time: the bound of few canaries varies by a half."""

SCENES = 2
"""Of a private evolution, for each canary."""

NOISELESS = 1e3
"""Epsilon of a private evolution that hardly adds noise."""

COVERAGE = 0.95
BELOW = 0.01
"""Probability of as few covered repetitions as are tolerated, if the coverage is what it says."""


@dataclass(frozen=True)
class Scale:
    """How much is run."""

    drivers: int = 40
    """Of members and of non-members, each with FRAMES frames."""
    steps: int = 600
    """Batches of a network."""
    shadows: int = 8
    repetitions: int = 50
    relabellings: int = 100
    canaries: int = 120
    private_steps: int = 600


FULL = Scale()
SMALL = Scale(drivers=24, steps=250, shadows=4, repetitions=10, relabellings=100, canaries=60, private_steps=200)
FRAMES = 5

Check = dict[str, Any]


def self_test(scale: Scale = FULL) -> dict[str, Any]:
    """Every check, and whether all passed."""
    torch.set_num_threads(1)  # operators this small lose by being shared
    test = SelfTest(scale)
    checks = [check for part in test.parts() for check in part]
    return {"passed": all(check["passed"] for check in checks), "checks": checks}


class SelfTest:
    """The checks, with what they share."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale

    def parts(self) -> list[Iterator[Check]]:
        """All of them, in the order of the report."""
        return [
            self.memorising_model(),
            self.fresh_model(),
            self.random_labels(),
            self.leaking_synthesiser(),
            self.biased_split(),
            self.canaries(),
            self.evolution(),
        ]

    @cached_property
    def evidence(self) -> Evidence:
        """Members and non-members of one distribution."""
        drivers = self.scale.drivers
        return gather(draw_people(drivers, FRAMES, 0), draw_people(drivers, FRAMES, 0, first=drivers))

    @cached_property
    def signals(self) -> dict[str, Array]:
        """White-box signals of a network that was overfitted on the members."""
        evidence, inside = self.evidence, self.evidence.members
        model = fit(untrained(), evidence.frames[inside], evidence.conditions[inside], self.scale.steps)
        return membership_signals(TorchModel(model, STEPS), evidence.frames, evidence.conditions)

    @cached_property
    def shadows(self) -> Shadows:
        """Networks that were trained likewise on random halves of the drivers."""
        evidence = self.evidence
        masks = [half_of_drivers(evidence.drivers, 7, number) for number in range(self.scale.shadows)]
        models = [
            fit(untrained(number + 1), evidence.frames[rows], evidence.conditions[rows], self.scale.steps, number)
            for number, rows in enumerate(masks)
        ]
        return Shadows([TorchModel(model, STEPS) for model in models], np.stack(masks))

    def memorising_model(self) -> Iterator[Check]:
        """Every white-box attack flags it, and the best calibrated one nearly always."""
        population = self.evidence.population
        named = self.signals | calibrated(self.signals, self.shadows, self.evidence)
        areas = {}
        for name, scores in named.items():
            finding = membership_finding(name, "white box", scores, population)
            areas[name] = finding.figures["auc"]
            low = finding.figures["auc_interval"][0]
            yield _check(f"a memorising model is flagged by {name}", low > 0.5, low, "lower bound of AUC above 0.5")
        best = max(area for name, area in areas.items() if name.endswith("calibrated"))
        yield _check("best calibrated AUC on a memorising model", best >= MEMORISED, best, f"at least {MEMORISED}")

    def fresh_model(self) -> Iterator[Check]:
        """Nobody is a member: intervals for the whole family of attacks cover 0.5."""
        drivers, covered = self.scale.drivers, []
        first = 4 * drivers
        others = draw_people(drivers, FRAMES, 0, first=2 * drivers)
        model = TorchModel(fit(untrained(), others.frames, others.conditions, self.scale.steps), STEPS)
        for repetition in range(self.scale.repetitions):
            start = first + repetition * 2 * drivers
            evidence = gather(draw_people(drivers, FRAMES, 0, start), draw_people(drivers, FRAMES, 0, start + drivers))
            signals = membership_signals(model, evidence.frames, evidence.conditions)
            found = [membership_finding(n, "white box", s, evidence.population) for n, s in signals.items()]
            covered.append(all(finding.covers_chance(len(found)) for finding in found))
        share = float(np.mean(covered))
        least = fewest_covered(self.scale.repetitions) / self.scale.repetitions
        yield _check(
            "intervals of a fresh model cover 0.5 for all attacks", share >= least, share, f"at least {least:g}"
        )

    def random_labels(self) -> Iterator[Check]:
        """p-values of labels that mean nothing are uniform."""
        evidence, values = self.evidence, []
        sides = np.unique(evidence.drivers) < self.scale.drivers
        _, inverse = np.unique(evidence.drivers, return_inverse=True)
        for seed in range(self.scale.relabellings):
            members = np.random.default_rng(seed).permutation(sides)[inverse]
            population = Population.split(members, evidence.drivers, seed)
            values.append(membership_finding("relabelled", "white box", self.signals["SimA"], population, seed).p_value)
        distance = kolmogorov_distance(np.array(values)) * np.sqrt(len(values))
        name = f"p-values of {len(values)} random relabellings are uniform"
        yield _check(name, distance <= UNIFORM_LEVEL, float(distance), f"Kolmogorov distance at most {UNIFORM_LEVEL}")

    def leaking_synthesiser(self) -> Iterator[Check]:
        """Near copies come out in the order of the leaks, a small leak nearly always, exact copies as all there is."""
        shares = [self.copied_share(share) for share in LEAKS]
        ordered = all(small < large for small, large in itertools.pairwise(shares))
        yield _check("leaks of 0, 1, 5, 25 and 100 % come out in that order", ordered, shares, "rising")
        full = shares[-1]
        yield _check("exact copies are all found", full == 1.0, full, "1")
        found = [self.extraction(0.05, seed).p_value < SIGNIFICANCE for seed in range(self.scale.repetitions)]
        power = float(np.mean(found))
        yield _check("a leak of 5 % is found", power >= POWER, power, f"in a share of {POWER} or more")

    def copied_share(self, share: float) -> float:
        """The share of generated frames that are taken for copies."""
        figures = self.extraction(share, 0).figures
        return float(figures["closer_than_any_control"] / figures["generated"])

    def extraction(self, share: float, seed: int) -> Any:
        """What is found in generated frames of which that share are exact copies of members."""
        evidence = self.evidence
        members = evidence.frames[evidence.members]
        fresh = draw_people(2 * self.scale.drivers, FRAMES, 1 + seed).frames
        copied = np.random.default_rng(seed).choice(len(members), round(share * len(fresh)))
        generated = np.concatenate([members[copied], fresh[len(copied) :]])
        sides = (Side(thumbnails(evidence.frames[side]), evidence.drivers[side]) for side in evidence.sides)
        return find_near_copies(thumbnails(generated), *sides).finding

    def biased_split(self) -> Iterator[Check]:
        """Members whose camera has a saturated last row make every figure meaningless."""
        evidence = self.evidence
        frames = evidence.frames.copy()
        frames[evidence.members, -1] = SATURATED
        biased = Evidence(SCHEMA, frames, evidence.conditions, evidence.members, evidence.drivers)
        statuses = [audit(each, Targets()).status for each in (evidence, biased)]
        yield _check("a biased split is INVALID, a fair one valid", statuses == ["valid", "INVALID"], statuses, "both")

    def canaries(self) -> Iterator[Check]:
        """DP-SGD keeps its promise by its canaries, and one without clipping is found out."""
        delta, budget = 1e-5, Budget(1.0, 1e-5, "frame")
        people = draw_people(BESIDE, FRAMES, 0)
        frames, conditions, included = draw_canaries(SCHEMA, people.image, self.scale.canaries, 0)
        canaries = Canaries(frames, conditions, included)
        source = _with(people, frames[included], conditions[included])
        start = fit(untrained(widths=(32,)), people.frames, people.conditions, STARTED)
        before, bounds = TorchModel(start, STEPS), []
        for kind in (None, unclipped_optimizer()):
            recipe = PrivateRecipe(self.scale.private_steps, units=24, clip=SMALL_CLIP, layers="all", lr=PRIVATE_RATE)
            model = fine_tune(start, source, budget, recipe, kind, secret=SECRET)
            bounds.append(audit_canaries(TorchModel(model, STEPS), canaries, delta, [before]))
        honest, broken = bounds
        spent = model.lineage["epsilon"]
        name = f"canaries in DP-SGD with epsilon {spent:.3g}: the lower bound stays below"
        yield _check(name, honest["epsilon"] <= spent, honest["epsilon"], f"at most {spent:.3g}")
        name = f"canaries find a DP-SGD that doesn't clip (ceiling {broken['ceiling']:.3g})"
        yield _check(name, broken["epsilon"] > spent, broken["epsilon"], f"above {spent:.3g}")

    def evolution(self) -> Iterator[Check]:
        """Private evolution keeps its promise by its canaries, and one without noise is found out."""
        delta, promised, bounds = 1e-5, 1.0, []
        for epsilon in (promised, NOISELESS):
            bounds.append(self.evolved_canaries(Budget(epsilon, delta, "frame")))
        honest, broken = bounds
        name = f"canaries in private evolution with epsilon {promised:g}: the lower bound stays below"
        yield _check(name, honest["epsilon"] <= promised, honest["epsilon"], f"at most {promised:g}")
        name = f"canaries find a private evolution with hardly any noise (ceiling {broken['ceiling']:.3g})"
        yield _check(name, broken["epsilon"] > promised, broken["epsilon"], f"above {promised:g}")

    def evolved_canaries(self, budget: Budget) -> dict[str, Any]:
        """What canaries show that are scenes of the first round: does each survive by its own vote?"""
        simulator, count, generator = PeopleSimulator(), self.scale.canaries, np.random.default_rng(0)
        begun = draw_population(simulator, SCENES * count, generator)
        begun = render_missing(begun, simulator, lambda population: None)
        included = generator.random(count) < 0.5
        somebody, canaries = draw_people(1, 1, 0), begun.frames[:count]
        conditions = SCHEMA.encode([scene.condition for scene in begun.scenes[:count]])
        private = _with(somebody, canaries[included], conditions[included])
        recipe = EvolutionRecipe(count=SCENES * count, scenes=SCENES * count, rounds=1)
        evolved = evolve(private, simulator, budget, recipe, generator, begun)
        distances, _ = nearest(thumbnails(canaries), thumbnails(evolved.frames), 1)
        return epsilon_lower_bound(-distances[:, 0], included, budget.delta)


def unclipped_optimizer() -> type[Any]:
    """Opacus's optimizer with the fault that everybody fears: it adds the noise, and clips nothing."""

    class Unclipped(private_optimizer()):  # type: ignore[misc]
        def clip_and_accumulate(self) -> None:
            for weight in self.params:
                weight.summed_grad = weight.grad_sample.sum(dim=0)

    return Unclipped


def kolmogorov_distance(values: Array) -> float:
    """Largest difference between the distribution of values in [0, 1] and the uniform one."""
    ordered = np.sort(values)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1])))


def fewest_covered(repetitions: int) -> int:
    """The fewest repetitions that may be covered before a coverage of 95 % is disbelieved at 1 %."""
    return int(np.searchsorted(np.cumsum(binomial_pmf(repetitions, COVERAGE)), BELOW, "right"))


def _with(people: LabelledFrames, frames: Frames, conditions: Conditions) -> LabelledFrames:
    pixels, vectors = np.concatenate([people.frames, frames]), np.concatenate([people.conditions, conditions])
    hidden = np.zeros((len(pixels), people.hidden.shape[1]), bool)
    return LabelledFrames(people.schema, pixels, vectors, None, hidden, None, fingerprint(pixels, vectors))


def _check(name: str, passed: bool, figure: float | Sequence[Any], bound: str) -> Check:
    return {"name": name, "passed": bool(passed), "figure": figure, "bound": bound}
