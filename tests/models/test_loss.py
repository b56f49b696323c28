"""The forward process, the weight of each noise level and of each place: equations, worked out a second time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from contract.schedule import Diffusion
from models.denoiser import Denoiser
from models.loss import MAX_WEIGHT, denoising_loss, face_weights, targets

ROUNDING = 1e-5
"""Relative, of float32."""

CLEAN = 1e-12
"""Relative, of float64."""


def noisy_pair(batch: int) -> tuple[Tensor, Tensor]:
    """Images and noise, float64 [B, 1, 4, 4]."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 1, 4, 4, generator=generator, dtype=torch.float64) * 2 - 1
    return images, torch.randn(batch, 1, 4, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "x0"])
def test_images_and_noise_mix_as_in_the_paper(prediction: str) -> None:
    """x = alpha x0 + sigma epsilon at every noise level of a batch, alpha^2 + sigma^2 = 1 (arXiv 2202.00512)."""
    diffusion = Diffusion(1000, "cosine-zero", prediction)
    timesteps = torch.tensor([0, 1, 250, 500, 750, 998, 999])
    images, noise = noisy_pair(len(timesteps))
    noisy, target, _ = targets(diffusion, images, noise, timesteps)
    for row, alpha_bar in enumerate(diffusion.alpha_bar()[timesteps.numpy()].tolist()):
        alpha, sigma = math.sqrt(alpha_bar), math.sqrt(1.0 - alpha_bar)
        assert torch.allclose(noisy[row], alpha * images[row] + sigma * noise[row], rtol=CLEAN, atol=CLEAN)
        expected = {"epsilon": noise, "v": alpha * noise - sigma * images, "x0": images}[prediction][row]
        assert torch.allclose(target[row], expected, rtol=CLEAN, atol=CLEAN)
    assert torch.equal(noisy[-1], noise[-1]), "the last alpha_bar is 0: nothing is left of the image"


def test_an_error_of_x0_weighs_what_the_same_error_weighs_as_one_of_v() -> None:
    """v = alpha epsilon - sigma x0, where the noise is what x leaves: an error e of x0 is e / sigma of v."""
    timesteps = torch.arange(0, 1000, 37)
    images, noise = noisy_pair(len(timesteps))
    _, _, weight = targets(Diffusion(1000, "cosine-zero", "x0"), images, noise, timesteps)
    noise_shares = 1.0 - Diffusion(1000, "cosine-zero").alpha_bar()[timesteps.numpy()]
    expected = np.minimum(1.0 / noise_shares, MAX_WEIGHT)
    assert weight.numpy() == pytest.approx(expected, rel=CLEAN)
    assert weight.max() == MAX_WEIGHT and weight.min() < 1.01, "from the cap almost down to 1"
    for prediction in ("epsilon", "v"):
        _, _, even = targets(Diffusion(1000, "cosine-zero", prediction), images, noise, timesteps)
        assert torch.equal(even, torch.ones_like(even))


class Off(Denoiser):
    """Predicts images that are off by what it was given."""

    def __init__(self, predicted: Tensor) -> None:
        super().__init__()
        self.predicted, self.null_condition = predicted, None

    def forward(self, x: Tensor, timesteps: Tensor, condition: Tensor) -> Tensor:
        return self.predicted


def test_the_loss_is_the_error_of_each_place_times_its_weight() -> None:
    generator = torch.Generator().manual_seed(1)
    images, error, weight_map = torch.rand(3, 2, 2, 8, 8, generator=generator).unbind()
    weight_map = weight_map[:, :1]
    diffusion = Diffusion(1, "table", "x0", (0.75,))  # its only noise level: no luck of the draw
    found = denoising_loss(Off(images + error), diffusion, images, torch.zeros(2, 1), weight_map)
    expected = (error.double() ** 2 * weight_map.double()).mean() / (1.0 - 0.75)
    assert float(found) == pytest.approx(float(expected), rel=ROUNDING)
    even = denoising_loss(Off(images + error), diffusion, images, torch.zeros(2, 1))
    assert float(even) == pytest.approx(float((error.double() ** 2).mean()) / (1.0 - 0.75), rel=ROUNDING)


def test_a_landmark_weighs_its_extra_more_than_the_background_in_a_round_bell() -> None:
    """On an image that is wider than high; a bell's standard deviation is 0.075 of the width."""
    centre = torch.tensor([[[0.5, 0.5]]], dtype=torch.float64)
    weights = face_weights(centre, (21, 41), extra=6.0)[0, 0]
    assert float(weights.mean()) == pytest.approx(1.0, rel=CLEAN)
    relative = weights / weights[0, 0]
    assert float(relative[10, 20]) == pytest.approx(7.0, rel=ROUNDING)
    expected = 1.0 + 6.0 * math.exp(-0.5 * (3.0 / (0.075 * 41)) ** 2)
    for row, column in ((7, 20), (13, 20), (10, 17), (10, 23)):
        assert float(relative[row, column]) == pytest.approx(expected, rel=ROUNDING)
