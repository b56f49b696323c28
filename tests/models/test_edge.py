"""The edge network's shapes, what its outputs depend on, and the loss's weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from contract.errors import Refused
from contract.schedule import Diffusion
from models.edge import EdgeConfig, EdgeUNet
from models.loss import MAX_WEIGHT, denoising_loss, face_weights, targets

FLOAT32 = 1e-5
"""Square roots of alpha_bar are taken in float64 by the loss and in float32 by the test."""

SMALL = EdgeConfig(condition_width=5, size=16, patch=2, widths=(32, 64), blocks=1)


@pytest.fixture
def network() -> EdgeUNet:
    torch.manual_seed(0)
    network = EdgeUNet(SMALL)
    with torch.no_grad():
        for parameter in network.parameters():  # the zero-initialised layers too, so that everything reaches the output
            parameter.normal_(0.0, 0.05)
    return network


def test_shapes_and_config_round_trip(network: EdgeUNet) -> None:
    prediction = network(torch.randn(3, 3, 16, 16), torch.tensor([0, 5, 999]), torch.randn(3, 5))
    assert prediction.shape == (3, 3, 16, 16)
    assert EdgeConfig.from_dict(SMALL.to_dict()) == SMALL


def test_the_prediction_follows_time_condition_and_every_pixel(network: EdgeUNet) -> None:
    x, t, c = torch.randn(1, 3, 16, 16), torch.tensor([500]), torch.randn(1, 5)
    plain = network(x, t, c)
    assert not torch.allclose(plain, network(x, torch.tensor([100]), c), atol=1e-4)
    assert not torch.allclose(plain, network(x, t, c + 1.0), atol=1e-4)
    x.requires_grad_(True)
    network(x, t, c)[0, 0, 0, 0].backward()
    assert x.grad is not None and (x.grad.abs() > 0).all(), "the coarsest level sees the whole picture"


@pytest.mark.parametrize(
    "change",
    [{"widths": [33]}, {"size": 15}, {"patch": 0}, {"blocks": True}, {"widths": []}, {"extra": 1}, {"channels": 10**9}],
)
def test_absurd_configs_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="edge network"):
        EdgeConfig.from_dict(SMALL.to_dict() | change)


@pytest.mark.parametrize("prediction", ["x0", "v", "epsilon"])
def test_targets_recombine_into_image_and_noise(prediction: str) -> None:
    diffusion = Diffusion(1000, "cosine-zero", prediction)
    images, noise = torch.rand(4, 3, 8, 8) * 2 - 1, torch.randn(4, 3, 8, 8)
    timesteps = torch.tensor([0, 300, 700, 999])
    noisy, target, weight = targets(diffusion, images, noise, timesteps)
    alpha_bar = torch.from_numpy(diffusion.alpha_bar()[timesteps.numpy()]).float()[:, None, None, None]
    alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    expected = {"x0": images, "epsilon": noise, "v": alpha * noise - sigma * images}[prediction]
    assert torch.allclose(target, expected, atol=FLOAT32)
    assert torch.allclose(noisy[3], noise[3], atol=FLOAT32), "the last timestep is pure noise"
    assert weight.max() <= MAX_WEIGHT


def test_a_perfect_network_has_no_loss() -> None:
    network = EdgeUNet(SMALL)
    assert (
        denoising_loss(network, Diffusion(1000, "cosine-zero", "x0"), torch.zeros(4, 3, 16, 16), torch.zeros(4, 5)) == 0
    )


def test_the_null_condition_learns_from_dropped_conditions_alone(network: EdgeUNet) -> None:
    images, condition = torch.rand(8, 3, 16, 16), torch.randn(8, 5)
    diffusion = Diffusion(1000, "cosine-zero", "x0")
    denoising_loss(network, diffusion, images, condition, dropout=0.0).backward()
    assert network.null_condition is not None and network.null_condition.grad is None
    denoising_loss(network, diffusion, images, condition, dropout=1.0).backward()
    assert network.null_condition.grad is not None and network.null_condition.grad.abs().sum() > 0


def test_face_weights_peak_at_landmarks_and_average_one() -> None:
    landmarks = torch.tensor([[[0.25, 0.75], [0.5, 0.5]]])
    weights = face_weights(landmarks, (32, 32))
    assert weights.shape == (1, 1, 32, 32)
    assert weights.mean().item() == pytest.approx(1.0, abs=1e-5)
    assert weights[0, 0, 24, 8] > 2 * weights[0, 0, 2, 30]
