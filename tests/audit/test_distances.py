"""Distances of point clouds whose answers are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from audit.fidelity.copies import find_nearest, most_suspicious
from audit.fidelity.distances import distances, frechet, kernel_distance, neighbourhoods
from audit.fidelity.diversity import diversity, spread
from audit.stats.neighbours import BLOCK, nearest
from contract.errors import UsageError

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def same_numbers_for_every_test() -> None:
    RANDOM.bit_generator.state = np.random.default_rng(0).bit_generator.state


def cloud(count: int, width: int = 4, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return RANDOM.normal(shift, scale, (count, width))


def test_a_set_is_no_distance_from_itself() -> None:
    x = cloud(300)
    assert frechet(x, x) == pytest.approx(0.0, abs=1e-9)
    found = distances(x, x, np.arange(300))
    assert found["precision_dms"] == found["recall_dms"] == found["coverage_dms"] == 1.0
    assert found["fd_dms"] <= found["intervals"]["fd_dms"][1] < 1e-9


def test_frechet_of_gaussians_is_the_closed_form() -> None:
    x = RANDOM.normal(size=(400, 3)) @ np.diag([1.0, 2.0, 3.0])
    shift = np.array([1.0, -2.0, 0.5])
    assert frechet(x, x + shift) == pytest.approx((shift**2).sum())
    centred = x - x.mean(axis=0)
    spread = (centred**2).sum() / 399
    assert frechet(centred, 3.0 * centred) == pytest.approx(4.0 * spread), "the trace of (3 - 1)^2 of the covariance"
    weights = np.bincount(RANDOM.integers(400, size=400), minlength=400).astype(float)
    repeated = np.repeat(x, weights.astype(int), axis=0)
    other = np.repeat(x**2, weights.astype(int), axis=0)
    assert frechet(x, x**2, weights) == pytest.approx(frechet(repeated, other))


def test_frechet_of_many_points_nears_that_of_their_distributions() -> None:
    x, y = cloud(20_000, 2), cloud(20_000, 2, shift=1.0, scale=2.0)
    assert frechet(x, y) == pytest.approx(2 * 1.0 + 2 * (2.0 - 1.0) ** 2, rel=0.05)


def test_the_kernel_distance_is_unbiased_and_its_resamples_too() -> None:
    values, resampled = [], []
    for _ in range(400):
        x, y = cloud(20, 3), cloud(20, 3)
        weights = RANDOM.multinomial(20, np.full(20, 1 / 20), size=20).astype(float)
        each = kernel_distance(x, y, np.concatenate([np.ones((1, 20)), weights]))
        values.append(each[0])
        resampled.append(each[1:].mean())
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error and min(values) < 0, "of one distribution it is 0 on average"
    assert abs(np.mean(resampled) - np.mean(values)) < 4 * error


def test_the_kernel_distance_is_the_sum_over_pairs() -> None:
    x, y = cloud(BLOCK + 9, 2), cloud(BLOCK + 9, 2, shift=1.0)  # more than one block

    def k(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / 2 + 1) ** 3

    h = k(x, x) + k(y, y) - k(x, y) - k(y, x)
    np.fill_diagonal(h, 0.0)
    (found,) = kernel_distance(x, y, np.ones((1, len(x))))
    assert found == pytest.approx(h.sum() / (len(x) * (len(x) - 1)))
    assert found > 0.1


def test_far_away_frames_have_neither_precision_nor_coverage() -> None:
    found = distances(cloud(60, shift=100.0), cloud(60), np.arange(60))
    assert [found[f"{name}_dms"] for name in ("precision", "recall", "density", "coverage")] == [0.0] * 4


def test_a_collapsed_model_is_precise_and_recalls_little() -> None:
    reference = cloud(200)
    collapsed = reference[:1] * 0.2 + RANDOM.normal(0.0, 0.01, reference.shape)
    found = distances(collapsed, reference, np.arange(200))
    assert found["precision_dms"] > 0.9 and found["recall_dms"] == 0.0 and found["coverage_dms"] < 0.3


def test_two_samples_of_one_distribution_have_density_near_1() -> None:
    each = neighbourhoods(cloud(1500), cloud(1500))
    assert each["density_dms"].mean() == pytest.approx(1.0, abs=0.1)
    assert each["coverage_dms"].mean() == pytest.approx(1.0 - 0.5**5, abs=0.03)  # arXiv 2002.09797, equation 9


def test_intervals_of_few_drivers_are_wider_than_those_of_as_many_frames() -> None:
    drivers = np.repeat(np.arange(20), 10)
    reference = cloud(20)[drivers] + cloud(200, scale=0.3)
    generated = cloud(20, shift=0.5)[drivers] + cloud(200, scale=0.3)
    by_frame, by_driver = (distances(generated, reference, each) for each in (np.arange(200), drivers))
    for name in ("fd_dms", "kd_dms", "coverage_dms"):
        (low, high), (least, most) = by_frame["intervals"][name], by_driver["intervals"][name]
        assert most - least > 1.5 * (high - low), f"{name}: frames of one driver are nearly alike"
        assert by_frame[name] == by_driver[name], "the figure itself is of all frames"


def test_neighbours_are_those_of_a_full_search() -> None:
    points, queries = cloud(300, 5), cloud(BLOCK + 3, 5)
    full = np.linalg.norm(queries[:, None] - points[None], axis=2)
    found, indices = nearest(queries, points, 4)
    assert np.allclose(found, np.sort(full, axis=1)[:, :4])
    assert np.array_equal(indices[:, 0], full.argmin(axis=1))
    own, itself = nearest(points, points, 1, itself=True)
    assert (own > 0).all() and (itself[:, 0] != np.arange(300)).all()


def test_sets_of_two_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="as many of each"):
        distances(cloud(20), cloud(21), np.arange(20))
    with pytest.raises(UsageError, match="6 or more"):
        distances(cloud(5), cloud(5), np.arange(5))


def test_a_copy_of_a_training_frame_is_the_most_suspicious_one() -> None:
    training, generated = cloud(400), cloud(30)
    generated[7] = training[123] + 1e-4
    found = find_nearest(generated, training)
    assert found.index[7] == 123 and found.ratio[7] < 0.01
    own = np.sort(np.linalg.norm(training - training[123], axis=1))[1]
    assert found.spacing[7] == pytest.approx(own)
    ratios = np.stack([np.full(30, np.nan), found.ratio])
    pairs = most_suspicious(ratios, 5)
    assert pairs[0] == (1, 7) and len(pairs) == 5
    assert [found.ratio[frame] for _, frame in pairs] == sorted(found.ratio)[:5]


def test_diversity_tells_a_single_face_from_many() -> None:
    frames = RANDOM.integers(0, 256, (8, 4, 4, 3)).astype(np.uint8)
    same, many = np.repeat(frames[:2], 4, axis=0), frames
    features = frames.reshape(8, -1).astype(float)
    rendered = spread(features, many, 4)
    one = diversity(spread(np.repeat(features[:2], 4, axis=0), same, 4), rendered)
    assert one["features"] == one["pixels_share"] == 0.0
    assert diversity(rendered, rendered)["features_share"] == 1.0
    apart = np.linalg.norm(features[0] - features[1]), np.linalg.norm(features[0] - features[2])
    assert spread(features[[0, 1, 0, 2]], many[:4], 2)["features"] == pytest.approx(apart)
    assert diversity(rendered, None)["intervals"].keys() == {"features", "pixels"}
