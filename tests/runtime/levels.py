"""How far frames are apart, in levels of 255."""

from __future__ import annotations

import numpy as np

ONE_LEVEL = 1
"""A sum in another order may round a pixel to the neighbouring level of 255."""


def difference(found: np.ndarray, expected: np.ndarray) -> int:
    """The largest difference between frames uint8 [N, H, W, C]."""
    assert found.shape == expected.shape and found.dtype == expected.dtype == np.uint8
    return int(np.abs(found.astype(int) - expected).max())
