"""The reference samplers against diffusers' schedulers, and against denoisers whose answer is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from contract.errors import UsageError
from contract.schedule import Diffusion, trailing
from models.denoiser import Denoiser
from models.diffusion import ddim, ddpm, predict, to_frames
from models.document import Document, DocumentConfig

AGREEMENT = 1e-5
"""Relative, in float64: the project's acceptance figure against diffusers."""

RECOVERED = 1e-6
"""The ideal denoiser's posterior is all but one-hot at the last timestep, so that its image is a data point."""

NAMES = {"epsilon": "epsilon", "v": "v_prediction", "x0": "sample"}
SETTINGS = [("cosine", "epsilon"), ("cosine", "v"), ("cosine", "x0"), ("cosine-zero", "v"), ("cosine-zero", "x0")]


def _network(base: int = 2, size: int = 8) -> Document:
    torch.manual_seed(5)
    return Document(DocumentConfig(size=size, base=base)).double().eval()


def _inputs(batch: int = 3, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(6)
    noise = torch.randn(batch, 3, size, size, generator=generator, dtype=torch.float64)
    return noise, torch.rand(batch, 10, generator=generator, dtype=torch.float64)


def _scheduler(kind: Any, diffusion: Diffusion, **settings: Any) -> Any:
    prediction = NAMES[diffusion.prediction]
    scheduler = kind(diffusion.timesteps, beta_schedule="squaredcos_cap_v2", prediction_type=prediction, **settings)
    # Its own table is float32, and knows no unclipped cosine.
    scheduler.alphas_cumprod = torch.from_numpy(diffusion.alpha_bar())
    return scheduler


def _assert_close(found: Tensor, expected: Tensor) -> None:
    assert torch.isfinite(expected).all()
    assert (found - expected).abs().max() <= AGREEMENT * expected.abs().max()


@pytest.mark.parametrize("schedule, prediction", SETTINGS)
@pytest.mark.parametrize("steps", [4, 10])
def test_ddim_agrees_with_diffusers(schedule: str, prediction: str, steps: int) -> None:
    network, (noise, condition) = _network(), _inputs()
    diffusion = Diffusion(1000, schedule, prediction)
    scheduler = _scheduler(
        DDIMScheduler, diffusion, clip_sample=True, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(steps)
    timesteps = trailing(1000, steps)
    assert scheduler.timesteps.tolist() == timesteps.tolist()
    x = noise
    for t in scheduler.timesteps.tolist():
        with torch.no_grad():
            prediction_at_t = network(x, torch.full((len(x),), t), condition)
        x = scheduler.step(prediction_at_t, t, x, use_clipped_model_output=True).prev_sample
    _assert_close(ddim(network, diffusion, noise, condition, timesteps)[0], x)


@pytest.mark.parametrize("schedule, prediction, clip", [("cosine", "epsilon", False), ("cosine-zero", "x0", True)])
def test_ddpm_agrees_with_diffusers(schedule: str, prediction: str, clip: bool) -> None:
    network, (noise, condition) = _network(), _inputs(batch=2)
    diffusion = Diffusion(1000, schedule, prediction)
    scheduler = _scheduler(DDPMScheduler, diffusion, variance_type="fixed_large", clip_sample=clip)
    theirs, ours = torch.Generator().manual_seed(8), torch.Generator().manual_seed(8)
    x = noise
    for t in reversed(range(1000)):
        with torch.no_grad():
            prediction_at_t = network(x, torch.full((len(x),), t), condition)
        x = scheduler.step(prediction_at_t, t, x, generator=theirs).prev_sample
    _assert_close(ddpm(network, diffusion, noise, condition, clip=clip, generator=ours)[0], x)


class Ideal(Denoiser):
    """The best possible denoiser of a data set of a few points: the mean of their posterior given x."""

    def __init__(self, points: Tensor, diffusion: Diffusion) -> None:
        super().__init__()
        self.points, self.diffusion, self.null_condition = points, diffusion, None
        self.alpha_bar = torch.from_numpy(diffusion.alpha_bar())

    def embed_time(self, timesteps: Tensor) -> Tensor:
        return self.alpha_bar[timesteps][:, None]

    def denoise(self, x: Tensor, time_embedding: Tensor, condition: Tensor) -> Tensor:
        alpha, sigma = (part.reshape(-1, 1, 1, 1) for part in (time_embedding.sqrt(), (1 - time_embedding).sqrt()))
        distance = ((x[:, None] - alpha[:, None] * self.points) ** 2).sum(dim=(2, 3, 4))
        weights = (-distance / (2 * sigma.reshape(-1, 1) ** 2)).softmax(dim=1)
        x0 = torch.einsum("bn,nchw->bchw", weights, self.points)
        epsilon = (x - alpha * x0) / sigma
        return {"epsilon": epsilon, "x0": x0, "v": alpha * epsilon - sigma * x0}[self.diffusion.prediction]


def _points() -> Tensor:
    return torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("schedule, prediction", SETTINGS)
def test_ideal_denoiser_recovers_its_data_in_few_steps(schedule: str, prediction: str) -> None:
    diffusion, points = Diffusion(1000, schedule, prediction), _points()
    noise, condition = _inputs(batch=32, size=4)
    x, _ = ddim(Ideal(points, diffusion), diffusion, noise, condition, trailing(1000, 10))
    nearest = (x[:, None] - points).abs().amax(dim=(2, 3, 4)).min(dim=1)
    assert nearest.values.max() < RECOVERED
    assert len(set(nearest.indices.tolist())) >= 3, "several of the data points come up"


def test_ideal_denoiser_recovers_its_data_by_ddpm() -> None:
    diffusion, points = Diffusion(1000, "cosine", "epsilon"), _points()
    noise, condition = _inputs(batch=16, size=4)
    generator = torch.Generator().manual_seed(2)
    x, _ = ddpm(Ideal(points, diffusion), diffusion, noise, condition, generator=generator)
    assert (x[:, None] - points).abs().amax(dim=(2, 3, 4)).min(dim=1).values.max() < RECOVERED


def test_frames_by_hand() -> None:
    x = torch.tensor([-3.0, -1.0, 0.0, 0.5, 1.0, 2.0]).reshape(1, 1, 2, 3)
    assert to_frames(x).tolist() == [[[[0], [0], [128]], [[191], [255], [255]]]]
    assert to_frames(torch.zeros(2, 3, 4, 5)).shape == (2, 4, 5, 3)


def test_guidance_goes_from_null_through_conditional() -> None:
    network, (x, condition) = _network(), _inputs()
    network.null_condition = torch.nn.Parameter(torch.linspace(-1, 1, 10, dtype=torch.float64))
    with torch.no_grad():
        timesteps = torch.full((3,), 700)
        conditional = network(x, timesteps, condition)
        null = network(x, timesteps, network.null_condition.expand(3, 10))
        assert torch.equal(predict(network, x, 700, condition), conditional)
        _assert_close(predict(network, x, 700, condition, 0.0), null)
        _assert_close(predict(network, x, 700, condition, 3.0), 3 * conditional - 2 * null)


def test_guidance_without_null_condition_is_refused() -> None:
    with pytest.raises(UsageError, match="no null condition"):
        ddim(_network(), Diffusion(), *_inputs(), trailing(1000, 2), guidance_scale=2.0)


@pytest.mark.parametrize("timesteps", [[], [1000], [-1], [10, 20], [5, 5]])
def test_odd_timesteps_are_refused(timesteps: list[int]) -> None:
    with pytest.raises(UsageError, match="expected"):
        ddim(_network(), Diffusion(), *_inputs(), timesteps)


def test_sampling_keeps_no_graph() -> None:
    network, (noise, condition) = _network(), _inputs()
    assert not ddim(network, Diffusion(), noise, condition, trailing(1000, 2))[0].requires_grad
    assert not ddpm(network, Diffusion(5), noise, condition)[0].requires_grad
