"""Frames of other libraries' models are those of the libraries' own deterministic DDIM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from models.importers.given import Given
from tests.models.importers.originals import (
    ORIGINALS,
    Original,
    conditional_folder,
    denoising_diffusion,
    difference,
    zero_snr_folder,
)

ROUNDING = 1
"""Of 255: another order of sums in float32 moves a few pixels across the middle between two values."""

VARIED = 30.0
"""Standard deviation of the frames of 255: grey frames would agree with anything."""

EXPORTED = {
    "U-Net 2D": zero_snr_folder,
    "conditional U-Net": conditional_folder,
    "attention U-Net": denoising_diffusion,
}
"""One network of each kind; the others differ from these in the scheduler alone."""


def given(original: Original) -> Given:
    flags: dict[str, Any] = dict(zip(original.flags[::2], original.flags[1::2], strict=True))
    return Given(**{flag.removeprefix("--").replace("-", "_"): value for flag, value in flags.items()})


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_imported_network(tmp_path: Path, name: str) -> None:
    original = ORIGINALS[name](tmp_path / "model")
    assert original.frames.std() >= VARIED
    assert difference(original.imported(given(original)), original.frames).max() <= ROUNDING


@pytest.mark.parametrize("kind", EXPORTED)
def test_the_exported_bundle(tmp_path: Path, kind: str) -> None:
    original = EXPORTED[kind](tmp_path / "model")
    assert difference(original.exported(tmp_path / "bundle"), original.frames).max() <= ROUNDING


def test_other_weights_or_steps_are_seen(tmp_path: Path) -> None:
    original = denoising_diffusion(tmp_path / "model")
    assert difference(original.imported(Given(image_size=16, weights="model")), original.frames).max() > 10 * ROUNDING
    original = zero_snr_folder(tmp_path / "folder")
    assert difference(original.imported(Given(clip_range=0.5)), original.frames).max() > 10 * ROUNDING
