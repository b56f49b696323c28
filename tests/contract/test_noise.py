"""The noise of a frame is DESIGN.md's, word by word: seeds of old runs must always draw the same frames."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from contract.errors import UsageError
from contract.noise import FEWEST, initial_noises, open_fields

SHAPE = (3, 8, 8)


def noise_of(seed: int, index: int, shape: tuple[int, ...], attempt: int = 0) -> npt.NDArray[np.float32]:
    """That of one frame, drawn by itself."""
    return initial_noises(seed, [index], shape, [attempt])[0]


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (7, 12345), (2**64 - 1, 2**40)])
def test_a_frame_starts_from_the_philox_stream_of_its_seed_and_index(seed: int, index: int) -> None:
    stream = np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))
    np.testing.assert_array_equal(
        initial_noises(seed, [index], SHAPE)[0], stream.standard_normal(SHAPE, dtype=np.float32)
    )


def test_attempts_and_open_fields_have_streams_of_their_own() -> None:
    key = np.array([7, 3], dtype=np.uint64)
    again = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, 2]))
    np.testing.assert_array_equal(initial_noises(7, [3], SHAPE, [2])[0], again.standard_normal(SHAPE, dtype=np.float32))
    fields = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 1, 0]))
    np.testing.assert_array_equal(open_fields(7, 3).random(5), fields.random(5))
    streams = [*initial_noises(7, [3, 3, 3, 4], SHAPE, [0, 1, 2, 0])]
    assert len({stream.tobytes() for stream in streams}) == 4


def test_the_numbers_themselves_stay() -> None:
    expected = [-0.2933390140533447, 1.703830599784851, 1.5391918420791626, 0.6367538571357727]
    np.testing.assert_allclose(noise_of(7, 0, (4,)), np.array(expected, np.float32), rtol=1e-6)


def test_several_frames_at_once_are_the_same_frames() -> None:
    x = initial_noises(7, range(3, 6), SHAPE)
    np.testing.assert_array_equal(x, np.stack([noise_of(7, index, SHAPE) for index in range(3, 6)]))


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_threads_change_nothing(threads: int) -> None:
    attempts, shape = [index % 3 for index in range(50)], (3, 64, 64)
    assert 2 * FEWEST < 50 * 3 * 64 * 64  # or one thread would draw it all
    x = initial_noises(7, range(50), shape, attempts, threads)
    np.testing.assert_array_equal(x, np.stack([noise_of(7, i, shape, attempts[i]) for i in range(50)]))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_outside_64_bits_is_refused(seed: int) -> None:
    with pytest.raises(UsageError, match="from 0 to"):
        noise_of(seed, 0, SHAPE)
