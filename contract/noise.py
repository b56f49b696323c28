"""Where a frame's randomness comes from: a counter-based stream for each (seed, index), and nothing else.

    x = initial_noises(seed=7, indices=range(8), shape=(3, 64, 64))        # float32 [8, 3, 64, 64]

So batch size, resuming and the number of workers change nothing. Philox: Salmon et al. 2011, "Parallel random
numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from contract.errors import UsageError

SEEDS = 1 << 64
"""Seeds and indices are one 64-bit word of the Philox key each."""

FEWEST = 98_304
"""Numbers that are worth a thread: those of 2 frames of 128 x 128 pixels, which take about 2 ms."""


def initial_noises(
    seed: int, indices: Sequence[int], shape: tuple[int, ...], attempts: Sequence[int] | None = None, threads: int = 1
) -> npt.NDArray[np.float32]:
    """Standard normal float32 [N, C, H, W] that frames of these indices start from; `shape` is [C, H, W].

    `attempts` has one number a frame; without it all are first ones. With more `threads` the noise is the same: each
    frame has a stream of its own, and numpy lets other threads run while it fills one.
    """
    x = np.empty((len(indices), *shape), dtype=np.float32)
    frames = list(zip(x, indices, attempts or [0] * len(indices), strict=True))

    def fill(first: int) -> None:
        for row, index, attempt in frames[first::threads]:
            _stream(seed, index, (0, 0, 0, attempt)).standard_normal(out=row, dtype=np.float32)

    threads = max(1, min(threads, x.size // FEWEST))
    if threads == 1:
        fill(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(threads)))
    return x


def open_fields(seed: int, index: int) -> np.random.Generator:
    """The generator that the open condition fields of frame `index` are drawn from."""
    return _stream(seed, index, (0, 0, 1, 0))


def stream(seed: int, index: int, topic: int) -> np.random.Generator:
    """The generator of a topic beyond those of a frame (0 to 2), such as what training draws for batch `index`."""
    return _stream(seed, index, (0, 0, topic, 0))


def check_seed(seed: int) -> int:
    """The seed (or a frame's index), or UsageError where it is no integer from 0 to 2^64 - 1."""
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < SEEDS:
        raise UsageError(f"seed or index {seed}: expected an integer from 0 to {SEEDS - 1}")
    return number


def _stream(seed: int, index: int, counter: tuple[int, int, int, int]) -> np.random.Generator:
    key = np.array([check_seed(seed), check_seed(index)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array(counter, dtype=np.uint64)))
