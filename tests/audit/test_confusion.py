"""Confusion tables and paired tests, against answers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from audit.stats.confusion import across_tasks, confusion_by_group, measures
from audit.stats.paired import swap_test


def test_tables_by_driver_add_up() -> None:
    true, predicted = np.array([0, 0, 1, -1, 1, 0]), np.array([0, 1, 1, 0, 0, 0])
    tables = confusion_by_group(true, predicted, np.array([0, 0, 0, 1, 1, 1]), classes=2, count=3)
    assert tables.tolist() == [[[1, 1], [0, 1]], [[1, 0], [1, 0]], [[0, 0], [0, 0]]]


def test_measures_by_hand() -> None:
    found = measures(np.array([[8.0, 2.0, 0.0], [1.0, 4.0, 0.0], [3.0, 0.0, 0.0]]))
    assert found["accuracy"] == pytest.approx(12 / 18)
    assert found["recall"] == pytest.approx((0.8 + 0.8 + 0.0) / 3)
    assert found["precision"] == pytest.approx((8 / 12 + 4 / 6 + 0.0) / 3)
    assert found["macro_f1"] == pytest.approx((16 / 22 + 8 / 11 + 0.0) / 3)
    assert found["worst_class_recall"] == 0.0


def test_a_class_without_frames_counts_nowhere() -> None:
    found = measures(np.array([[6.0, 2.0], [0.0, 0.0]]))
    assert found["recall"] == found["worst_class_recall"] == pytest.approx(0.75)
    assert found["macro_f1"] == pytest.approx(12 / 14)
    assert np.isnan(measures(np.zeros((2, 2)))["macro_f1"])


def test_several_tasks_share_their_worst_class() -> None:
    found = across_tasks([np.diag([4.0, 4.0]), np.array([[1.0, 3.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]])])
    assert found["accuracy"] == pytest.approx((1.0 + 9 / 12) / 2)
    assert found["worst_class_recall"] == pytest.approx(0.25)


def tables(right: np.ndarray) -> list[np.ndarray]:
    """Tables [S, G, 2, 2] of 20 frames of each class a driver, of which a share `right` [S, G] is recognised."""
    hits = np.stack([20.0 * right, 20.0 * (1.0 - right)], axis=-1)
    return [np.stack([hits, hits[..., ::-1]], axis=-2)]


def accuracy(found: list[np.ndarray]) -> np.ndarray:
    return across_tasks(found)["accuracy"]


def test_the_same_answers_differ_by_nothing() -> None:
    random = np.random.default_rng(0)
    first = tables(random.random((3, 12)))
    assert swap_test(first, first, accuracy) == 1.0


def test_better_for_every_driver_is_significant() -> None:
    right = np.random.default_rng(1).random((3, 12)) / 2.0
    assert swap_test(tables(right + 0.2), tables(right), accuracy) <= 2 / 2000 + 2 * 2**-12


def test_p_values_are_uniform_where_nothing_differs() -> None:
    random = np.random.default_rng(2)
    pairs = [(tables(random.random((2, 12))), tables(random.random((2, 12)))) for _ in range(200)]
    p = np.array([swap_test(first, second, accuracy, swaps=199) for first, second in pairs])
    for level in (0.1, 0.5):
        assert abs(np.mean(p <= level) - level) < 3.0 * np.sqrt(level * (1.0 - level) / len(p))
