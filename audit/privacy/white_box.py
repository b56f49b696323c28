"""Membership signals of a model that can be asked for predictions; higher means rather a member.

    signals = membership_signals(model, frames, conditions)        # {"loss": [K, N], "SecMI": ..., ...}

One row for each of the model's timesteps that tells something; which of them counts is chosen on frames that aren't
scored. Every signal is the negative logarithm of an error, so that differences between models are ratios of their
errors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from audit.privacy.model import Model
from contract.conditions import Array
from contract.frames import Frames, Images, to_images
from contract.noise import initial_noises
from contract.progress import progress_bar

Signal = npt.NDArray[np.float64]

SHOWS = 1e-3
"""alpha_bar from which on the noise that a model sees depends on its answer: at 0 it is the input, whatever it says."""

NOISES = 2
"""Noise images of each frame that the loss is averaged over."""

PIA_NORM = 4
"""p of PIA's distance (arXiv 2305.18355)."""

SMALLEST = 1e-12
"""Added to errors before the logarithm: of an exact copy it is finite and the largest there is."""


def membership_signals(model: Model, frames: Frames, conditions: Array, seed: int = 0) -> dict[str, Signal]:
    """All signals of frames uint8 [N, H, W, C] with encoded conditions [N, D] that the model's timesteps allow."""
    images = to_images(frames)
    attacks: dict[str, Callable[[], Signal]] = {
        "loss": lambda: loss_signal(model, images, conditions, seed),
        "SecMI": lambda: secmi_signal(model, images, conditions),
        "PIA": lambda: pia_signal(model, images, conditions),
        "SimA": lambda: sima_signal(model, images, conditions),
    }
    bar = progress_bar(attacks.items(), desc="signals", unit="attack", leave=False)
    signals = {name: attack() for name, attack in bar}
    return {name: rows for name, rows in signals.items() if len(rows)}


def loss_signal(model: Model, images: Images, conditions: Array, seed: int = 0) -> Signal:
    """How well the image is recovered from noise (arXiv 2301.13188, section 5): [K, N]."""
    total = np.zeros((len(model.alpha_bar), len(images)))
    for attempt in range(NOISES):
        noise = initial_noises(seed, range(len(images)), images.shape[1:], [attempt] * len(images))
        for step, bar in enumerate(model.alpha_bar):
            predicted = model.predict_x0(_mix(images, noise, bar), step, conditions)
            total[step] += _mean_power(predicted - images, 2) / NOISES
    return -np.log(total + SMALLEST)


def secmi_signal(model: Model, images: Images, conditions: Array) -> Signal:
    """How far one deterministic step up and down again leads away (SecMI's t-error, arXiv 2302.01316): [K - 1, N].

    The image is inverted along the model's timesteps, from the cleanest up.
    """
    steps = range(len(model.alpha_bar) - 1, 0, -1)
    x = _mix(images, _epsilon(model, images, len(model.alpha_bar) - 1, conditions), model.alpha_bar[-1])
    rows = []
    for step in steps:
        up = _ddim(model, x, step, step - 1, conditions)
        back = _ddim(model, up, step - 1, step, conditions)
        rows.append(-np.log(_mean_power(back - x, 2) + SMALLEST))
        x = up
    return np.array(rows).reshape(-1, len(images))


def pia_signal(model: Model, images: Images, conditions: Array) -> Signal:
    """How well the noise seen in the clean image is seen again after it was added (PIA, arXiv 2305.18355).

    A row for each timestep that `SHOWS`, the noise is that of the cleanest.
    """
    noise = _epsilon(model, images, len(model.alpha_bar) - 1, conditions)
    rows = []
    for step in _telling(model):
        found = _epsilon(model, _mix(images, noise, model.alpha_bar[step]), step, conditions)
        rows.append(-np.log(_mean_power(found - noise, PIA_NORM) + SMALLEST))
    return np.array(rows).reshape(-1, len(images))


def sima_signal(model: Model, images: Images, conditions: Array) -> Signal:
    """How little noise a single prediction sees in the clean image (SimA, arXiv 2509.25003).

    A row for each timestep that `SHOWS`.
    """
    errors = [_mean_power(_epsilon(model, images, step, conditions), 2) for step in _telling(model)]
    return -np.log(np.array(errors).reshape(-1, len(images)) + SMALLEST)


def _telling(model: Model) -> list[int]:
    """The steps whose timesteps `SHOWS`."""
    return [step for step, bar in enumerate(model.alpha_bar) if bar >= SHOWS]


def _epsilon(model: Model, x: Images, step: int, conditions: Array) -> Images:
    """The noise that the model sees in x."""
    bar = model.alpha_bar[step]
    x0 = model.predict_x0(x, step, conditions)
    noise: Images = ((x - np.sqrt(bar) * x0) / np.sqrt(1.0 - bar)).astype(np.float32)
    return noise


def _ddim(model: Model, x: Images, step: int, to: int, conditions: Array) -> Images:
    """x at another timestep by the deterministic update, in either direction."""
    bar = model.alpha_bar[step]
    x0 = model.predict_x0(x, step, conditions)
    return _mix(x0, (x - np.sqrt(bar) * x0) / np.sqrt(1.0 - bar), model.alpha_bar[to])


def _mix(x0: Images, noise: Images, alpha_bar: float) -> Images:
    mixed: Images = (np.sqrt(alpha_bar) * x0 + np.sqrt(1.0 - alpha_bar) * noise).astype(np.float32)
    return mixed


def _mean_power(difference: Images, power: int) -> Signal:
    return np.asarray((np.abs(difference.astype(np.float64)) ** power).mean(axis=(1, 2, 3)))
