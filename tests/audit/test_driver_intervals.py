"""The intervals of every part of a fidelity report are of drivers, whose frames are all right or all wrong here."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from audit.fidelity.__main__ import frame_of_reference
from audit.fidelity.held_out import HeldOut
from audit.fidelity.report import RunResult, dataset_row, difference, row
from audit.fidelity.runs import Run
from audit.fidelity.scores import score
from contract.annotation import Annotation, class_fields
from contract.noise import open_fields
from contract.schemas import CABIN
from sources.base import LabelledFrames
from tests.audit.test_scores import truth

EACH, DRIVERS = 4, 30
COUNT = EACH * DRIVERS
PERSONS = np.repeat(np.arange(DRIVERS), EACH)
WRONG, NOBODY = PERSONS % 2 == 1, np.zeros(COUNT, bool)

WIDER = 1.5
"""Times by which drawing whole drivers widens an interval at least: 2, the root of EACH, but for the luck of draws."""

Figures = dict[str, Any]


def held_out_of(drivers: np.ndarray) -> HeldOut:
    """COUNT frames, of men where PERSONS is below the middle, said to be of these drivers."""
    genders = np.where(PERSONS < DRIVERS // 2, "male", "female").tolist()
    conditions = [CABIN.complete({"gender": gender}, open_fields(0, index)) for index, gender in enumerate(genders)]
    return HeldOut(CABIN, np.zeros((COUNT, 2, 2, 3), np.uint8), CABIN.encode(conditions), drivers)


def read_from(held_out: HeldOut, wrong: np.ndarray) -> Annotation:
    """Every class of some frames is wrong and their features are far away, all other frames are as they should be."""
    exact = truth(held_out.conditions)
    for columns in class_fields(CABIN).values():
        exact.probabilities[wrong, columns] = np.roll(exact.probabilities[wrong, columns], 1, axis=1)
    features = np.random.default_rng(0).standard_normal((COUNT, 4)) + 100.0 * wrong[:, None]
    return exact._replace(features=features.astype(np.float32))


def result_of(held_out: HeldOut, annotation: Annotation) -> RunResult:
    chosen = Run("model", "", "ddim", 4, "fp32", 1.0)
    return RunResult(chosen, held_out.frames, annotation, score(CABIN, annotation, held_out.conditions))


def row_of(drivers: np.ndarray) -> Figures:
    held_out = held_out_of(drivers)
    reference = read_from(held_out, NOBODY)
    found = row(result_of(held_out, read_from(held_out, WRONG)), reference, held_out)
    return {**found["intervals"], **found["persons"]["gender"]}


def dataset_row_of(drivers: np.ndarray) -> Figures:
    held_out = held_out_of(drivers)
    hidden = np.zeros((COUNT, len(CABIN.names)), bool)
    data = LabelledFrames(CABIN, held_out.frames, held_out.vectors, None, hidden, drivers, "")
    reference = read_from(held_out, NOBODY)
    return {**dataset_row("folder", data, np.arange(COUNT), read_from(held_out, WRONG), reference)["intervals"]}


def difference_of(drivers: np.ndarray) -> Figures:
    held_out = held_out_of(drivers)
    right, wrong = read_from(held_out, NOBODY), read_from(held_out, WRONG)
    found = difference(result_of(held_out, wrong), result_of(held_out, right), right, drivers)
    return {**found["intervals"]}


def annotator_of(drivers: np.ndarray) -> Figures:
    held_out = held_out_of(drivers)
    args = Namespace(frames=COUNT, seed=0, held_out="folder", sampler=["ddim"])
    reference = read_from(held_out, WRONG)
    found = frame_of_reference(args, held_out, reference, lambda frames: reference, "model")["annotator"]
    return {**found["intervals"], **found["persons"]["gender"]}


def width(interval: Any) -> float:
    low, high = interval["interval"] if isinstance(interval, dict) else interval
    return float(high - low)


@pytest.mark.parametrize(
    ("figures_of", "names"),
    [
        (row_of, ["mean_class_accuracy", "precision_dms", "male", "female"]),
        (dataset_row_of, ["mean_class_accuracy", "precision_dms"]),
        (difference_of, ["mean_class_accuracy", "fd_dms"]),
        (annotator_of, ["mean_class_accuracy", "male", "female"]),
    ],
    ids=["run", "data set", "difference", "annotator"],
)
def test_intervals_are_wider_than_if_each_frame_were_of_a_driver_of_its_own(
    figures_of: Callable[[np.ndarray], Figures], names: list[str]
) -> None:
    of_drivers, of_frames = figures_of(PERSONS), figures_of(np.arange(COUNT))
    wider = {name: width(of_drivers[name]) / width(of_frames[name]) for name in names}
    assert min(wider.values()) > WIDER, wider
