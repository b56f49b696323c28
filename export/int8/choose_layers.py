"""Which convolutions can't be quantized: each alone in int8, and what that does to the final frames.

    found = sweep(model, ranges, manifest)        # {"down.0.0.conv0": 58.1, ...} in dB
    names = choose(found)                                  # those that int8 is good enough for

Errors of single convolutions add up about independently, so the most harmful are left in higher precision
until the rest stays within the budget.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx

from contract.bundle import Manifest
from contract.frames import psnr
from export.int8.calibrate import Range, final_images, scaled, starts
from export.int8.quantize import ONNXRUNTIME, quantize
from export.onnx_edit import convolutions
from export.progress import progress

Images = npt.NDArray[np.float32]

CONDITIONS = 4
"""Full trajectories for each convolution: what single ones do differs by tens of dB, so that few will do."""

BUDGET_DB = 33.0
"""PSNR that the quantized convolutions may leave, by the sum of their errors: half the error of the 30 dB that the
parity gate asks for, the other half being for what adds up worse than independently."""

RANGE = 2.0
"""Of images in [-1, 1]."""


def body(model: onnx.ModelProto) -> list[str]:
    """All convolutions but the first and the last, at the image."""
    return [convolution.name for convolution in convolutions(model.graph)][1:-1]


def sweep(model: onnx.ModelProto, ranges: Mapping[str, Range], manifest: Manifest) -> dict[str, float]:
    """PSNR in dB of the final images with this one convolution in int8, by its name."""
    trajectories = starts(manifest, scaled(CONDITIONS, manifest))
    names, found = [convolution.name for convolution in convolutions(model.graph)], {}
    with progress("sensitivity", len(trajectories.noise) * (1 + len(names))) as advance:
        expected = final_images(model, trajectories, advance)
        for name in names:
            images = final_images(quantize(model, ranges, {name}, ONNXRUNTIME), trajectories, advance)
            found[name] = round(_psnr(images, expected), 2)
    return found


def choose(found: Mapping[str, float], budget: float = BUDGET_DB) -> list[str]:
    """Names of the convolutions to quantize, in the order of the sweep."""
    worst_last = sorted(found, key=lambda name: found[name], reverse=True)
    while worst_last and sum(_error(found[name]) for name in worst_last) > _error(budget):
        worst_last.pop()
    return [name for name in found if name in set(worst_last)]


def _psnr(images: Images, expected: Images) -> float:
    return float(psnr(np.mean((images.astype(np.float64) - expected) ** 2), RANGE))


def _error(psnr: float) -> float:
    """Mean squared error relative to the squared peak."""
    return float(10.0 ** (-psnr / 10.0))
