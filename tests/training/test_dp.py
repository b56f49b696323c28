"""Private fine-tuning, its accountants, and what the lineage says of people."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audit.lineage.__main__ import main as find_lineage
from audit.privacy.miniature import draw_people, untrained
from contract.driver_hashes import hash_drivers, seen_drivers, trained_on
from contract.errors import Refused, UsageError
from contract.frames import Images, to_images
from models.annotator import Annotator, AnnotatorConfig, TrainedAnnotator
from models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from sources.base import LabelledFrames
from sources.drivers import driver_keys, without_drivers
from tests.audit.privacy.conftest import write_people
from training import dp
from training.accounting import (
    AGREEMENT,
    Budget,
    epsilon_spent,
    gaussian_epsilon,
    gaussian_noise,
    noise_multiplier,
    pld_epsilon,
    prv_epsilon,
)
from training.dp import PrivateRecipe, choose_layers, fine_tune, private_optimizer, unit_gradients
from training.lineage import budget_after
from training.train import main as train
from training.train_annotator import attach_annotator

RECIPE = PrivateRecipe(steps=3, units=8, frames=2)


@pytest.fixture(scope="module")
def people() -> LabelledFrames:
    return draw_people(12, 4, seed=0)


@pytest.fixture(scope="module")
def start() -> Checkpoint:
    lineage = {"data": "public", "epsilon": None, "drivers": hash_drivers([], "public")}
    return replace(untrained(widths=(32,)), lineage=lineage)


@pytest.fixture(scope="module")
def optimizer_class() -> type[Any]:
    return private_optimizer()


@pytest.mark.parametrize(
    ("noise", "rate", "steps"), [(1.0, 0.01, 500), (3.6, 0.1, 490), (0.8, 0.02, 100), (9.0, 0.1, 100)]
)
def test_two_accountants_agree(noise: float, rate: float, steps: int) -> None:
    found = prv_epsilon(noise, rate, steps, 1e-5), pld_epsilon(noise, rate, steps, 1e-5)
    assert abs(found[0] - found[1]) <= AGREEMENT * max(found)
    assert epsilon_spent(noise, rate, steps, 1e-5) == max(found)


def test_privacy_noise_repeats_only_where_its_secret_is_given(people: LabelledFrames, start: Checkpoint) -> None:
    first, again, other, unknown = (
        fine_tune(start, people, Budget(3.0, 1e-5, "frame"), RECIPE, secret=secret).weights["out.bias"]
        for secret in (1, 1, 2, None)
    )
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first, unknown)


def test_noise_of_a_known_setting() -> None:
    """20 000 frames, 50 epochs of batches of 2048, delta 5e-6: epsilon 3 costs 3.6 by Renyi's bound, less by PRV."""
    found = noise_multiplier(Budget(3.0, 5e-6, "frame"), 2048 / 20_000, 488)
    assert 3.2 < found < 3.6


def test_the_closed_form_agrees_with_a_subsampled_release_of_everything() -> None:
    noise = gaussian_noise(Budget(1000.0, 1e-5, "frame"), 1)
    assert gaussian_epsilon(noise, 1, 1e-5) == pytest.approx(1000.0) and gaussian_epsilon(noise / 10, 1, 1e-5) > 5000.0
    assert gaussian_epsilon(2.0, 4, 1e-5) == pytest.approx(pld_epsilon(2.0, 1.0, 4, 1e-5), rel=AGREEMENT)
    noise = gaussian_noise(Budget(1.0, 1e-5, "frame"), 5)
    assert gaussian_epsilon(noise, 5, 1e-5) == pytest.approx(1.0, rel=1e-3)


def test_a_unit_is_clipped_whatever_its_frames(
    start: Checkpoint, people: LabelledFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients are those of one unit alone: what others are in the batch changes nothing."""
    network = start.network()
    trained = choose_layers(network, "few")
    images = np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32)

    def gradients(rows: slice) -> torch.Tensor:
        draw = np.random.default_rng(3)
        found = unit_gradients(network, trained, start.diffusion, images[rows], people.conditions[:4][rows], 2, draw)
        return torch.cat([value.flatten(1) for value in found.values()], dim=1)

    both, first = gradients(slice(0, 4)), gradients(slice(0, 2))
    assert both.shape[0] == 2 and first.shape[0] == 1
    assert not torch.allclose(both[0], both[1])
    monkeypatch.setattr(dp, "AT_ONCE", 1)
    torch.testing.assert_close(gradients(slice(0, 4)), both)


def with_settings(optimizer_class: type[Any], weights: list[torch.Tensor], noise: float) -> Any:
    """An optimizer that clips to 0.5 and expects 8 units a step."""
    settings = {"noise_multiplier": noise, "max_grad_norm": 0.5, "expected_batch_size": 8}
    return optimizer_class(torch.optim.SGD(weights, 1.0), **settings, generator=np.random.default_rng(0))


def step_with(optimizer: Any, weights: list[torch.Tensor], samples: list[torch.Tensor]) -> torch.Tensor:
    """The gradient of a step whose units have these gradients, all weights in one row."""
    for weight, each in zip(weights, samples, strict=True):
        weight.grad_sample = each  # type: ignore[attr-defined]
    optimizer.step()
    gradient = torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None])
    optimizer.zero_grad()
    return gradient.clone()


@pytest.mark.parametrize("units", [0, 5])
def test_a_step_is_noised_by_sigma_times_the_clipping_norm_over_the_expected_units(
    optimizer_class: type[Any], units: int
) -> None:
    """Whoever was drawn, and if nobody was: a step without noise would say so."""
    weights = [torch.zeros(100, 200, requires_grad=True), torch.zeros(20_000, requires_grad=True)]
    optimizer = with_settings(optimizer_class, weights, noise=3.0)
    nothing = [torch.zeros(units, *weight.shape) for weight in weights]
    steps = [step_with(optimizer, weights, [each.clone() for each in nothing]) for _ in range(2)]
    noises = torch.cat(steps).reshape(4, -1)
    assert noises.std(dim=1).tolist() == pytest.approx([3.0 * 0.5 / 8] * 4, rel=0.03)
    assert (torch.corrcoef(noises) - torch.eye(4)).abs().max() < 0.04


@pytest.mark.parametrize("units", [1, 3])
def test_a_huge_unit_adds_the_clipping_norm_over_the_expected_units(optimizer_class: type[Any], units: int) -> None:
    """Over all weights together; and small ones beside it what they are, over the same number."""
    weights = [torch.zeros(3, 4, requires_grad=True), torch.zeros(7, requires_grad=True)]
    optimizer = with_settings(optimizer_class, weights, noise=0.0)
    sizes = [1e6, 0.01, 0.01][:units]
    found = step_with(optimizer, weights, [torch.stack([torch.full(w.shape, s) for s in sizes]) for w in weights])
    assert float(found.norm()) == pytest.approx((0.5 + (units - 1) * 0.01 * 19**0.5) / 8, rel=1e-5)


@pytest.mark.parametrize("unit", ["frame", "driver"])
def test_noise_and_draws_are_those_that_the_accountant_was_told_of(
    start: Checkpoint, people: LabelledFrames, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poisson: each unit on its own, so that steps differ in how many they draw."""
    images = {image.tobytes(): place for place, image in enumerate(to_images(people.frames))}
    owners = people.subjects if unit == "driver" else np.arange(len(people.frames))
    assert owners is not None
    made, told = dict[str, Any](), dict[str, tuple[Any, ...]]()
    sizes, times = list[int](), Counter[int]()

    class Recorder:
        def __init__(self, optimizer: torch.optim.Optimizer, **settings: Any) -> None:
            made.update(settings)
            self.weight = optimizer.param_groups[0]["params"][0]

        def step(self) -> None:
            sizes.append(len(self.weight.grad_sample))

        def zero_grad(self) -> None:
            pass

    def no_gradients(
        network: object, trained: Mapping[str, torch.Tensor], diffusion: object, frames: Images, conditions: object,
        each: int, draw: object,
    ) -> dict[str, torch.Tensor]:  # fmt: skip
        drawn = np.array([owners[images[frame.tobytes()]] for frame in frames], int).reshape(-1, each)
        assert (drawn == drawn[:, :1]).all(), "a unit's frames are its own"
        times.update(drawn[:, 0].tolist())
        return {name: weight.new_zeros((len(drawn), *weight.shape)) for name, weight in trained.items()}

    def accountant(name: str, answer: float) -> Callable[..., float]:
        def answered(*given: Any) -> float:
            told[name] = given
            return answer

        return answered

    monkeypatch.setattr(dp, "unit_gradients", no_gradients)
    monkeypatch.setattr(dp, "noise_multiplier", accountant("noise", 2.5))
    monkeypatch.setattr(dp, "epsilon_spent", accountant("epsilon", 4.5))
    budget, recipe = Budget(5.0, 1e-5, unit), replace(RECIPE, steps=100, clip=0.5)
    lineage = fine_tune(start, people, budget, recipe, optimizer_class=Recorder, secret=0).lineage
    count = len(set(owners.tolist()))
    rate = 8 / count
    assert told == {"noise": (budget, rate, 100), "epsilon": (2.5, rate, 100, 1e-5)}
    assert lineage["epsilon"] == 4.5 and (lineage["private"]["noise"], lineage["private"]["rate"]) == (2.5, rate)
    assert made.pop("generator") is not None
    assert made == {"noise_multiplier": 2.5, "max_grad_norm": 0.5, "expected_batch_size": 8}
    spread = np.sqrt(rate * (1.0 - rate))
    assert len(sizes) == 100 and abs(sum(sizes) - 100 * count * rate) < 4.0 * spread * np.sqrt(100 * count)
    assert np.std(sizes) == pytest.approx(spread * np.sqrt(count), rel=0.3)
    assert len(times) == count and max(abs(each - 100 * rate) for each in times.values()) < 5.0 * spread * np.sqrt(100)


@pytest.mark.parametrize("unit", ["frame", "driver"])
def test_what_was_spent_stands_in_the_lineage(start: Checkpoint, people: LabelledFrames, unit: str) -> None:
    found = fine_tune(start, people, Budget(5.0, 1e-5, unit), RECIPE)
    lineage = found.lineage
    assert lineage["unit"] == unit and 4.8 < lineage["epsilon"] <= 5.0 and lineage["delta"] == 1e-5
    assert lineage["before"]["data"] == "public" and seen_drivers({"drivers": lineage["drivers"]}, ["11"])
    changed = {name for name, value in found.weights.items() if not torch.equal(value, start.weights[name])}
    assert changed and all(found.weights[name].ndim == 1 or name.startswith("out.") for name in changed)
    with pytest.raises(Refused, match="add up"):
        fine_tune(found, people, Budget(5.0, 1e-5, unit), RECIPE)


def test_a_start_that_saw_the_private_frames(start: Checkpoint, people: LabelledFrames) -> None:
    """No epsilon would hold for them, however the last training went."""
    budget = Budget(5.0, 1e-5, "driver")
    same_frames = replace(start, lineage={"before": {"data": people.fingerprint}})
    with pytest.raises(Refused, match="trained on these frames"):
        fine_tune(same_frames, people, budget, RECIPE)
    student = replace(start, sampler=replace(start.sampler, steps=2, timesteps=(999, 499)))
    with pytest.raises(Refused, match="distilled to few steps"):
        fine_tune(student, people, budget, RECIPE)
    same_people = replace(start, lineage={"distilled": [{"drivers": hash_drivers(["3", "99"], "other frames")}]})
    with pytest.raises(Refused, match="trained on 1 drivers of these frames, such as 3"):
        fine_tune(same_people, people, budget, RECIPE)


def test_an_epsilon_ends_where_other_frames_are_trained_on(start: Checkpoint, people: LabelledFrames) -> None:
    lineage = fine_tune(start, people, Budget(5.0, 1e-5, "driver"), RECIPE).lineage
    assert budget_after(lineage, people.fingerprint) == {"epsilon": None, "delta": None, "unit": None}
    assert budget_after(lineage, "public")["unit"] == "driver"
    assert budget_after(lineage, "public", "a critic's own")["unit"] is None


def test_more_units_than_there_are(start: Checkpoint, people: LabelledFrames) -> None:
    with pytest.raises(UsageError, match="20 units a step, and 12 drivers"):
        fine_tune(start, people, Budget(5.0, 1e-5, "driver"), replace(RECIPE, units=20))
    with pytest.raises(Refused, match="whose frames"):
        fine_tune(start, replace(people, subjects=None), Budget(5.0, 1e-5, "driver"), RECIPE)


def test_command_excludes_drivers_and_the_lineage_finds_the_others(
    start: Checkpoint, people: LabelledFrames, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_people(tmp_path / "people", people)
    write_checkpoint(tmp_path / "start.pt", start)
    (tmp_path / "withdrawn.txt").write_text("# asked to be left out\n3\n7\n")
    command = [str(tmp_path / "people"), "-o", str(tmp_path / "run"), "--init-from", str(tmp_path / "start.pt")]
    private = ["--dp-epsilon", "8", "--dp-unit", "driver", "--dp-steps", "2", "--dp-units", "5"]
    assert train([*command, *private, "--exclude-drivers", str(tmp_path / "withdrawn.txt")]) == 0
    assert "for each driver" in capsys.readouterr().out
    assert train([*command, *private]) == 1, "what is released isn't released again"
    assert "would spend epsilon again" in capsys.readouterr().err
    lineage = read_checkpoint(tmp_path / "run/checkpoint.pt").lineage
    assert lineage["drivers"]["count"] == 10 and lineage["frames"] == 40
    for key, expected in (("5", "trained on"), ("7", "not trained on")):
        assert find_lineage(["--driver", key, str(tmp_path / "run"), "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)["artefacts"]
        assert (found["kind"], found["touched"]) == ("checkpoint", expected)


def test_a_folder_that_takes_no_checkpoint_costs_no_epsilon(
    start: Checkpoint, people: LabelledFrames, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    write_people(tmp_path / "people", people)
    write_checkpoint(tmp_path / "start.pt", start)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "holiday.jpg").touch()
    monkeypatch.setattr("training.train.run_privately", lambda *_: pytest.fail("the private frames were trained on"))
    command = [str(tmp_path / "people"), "-o", str(tmp_path / "run"), "--init-from", str(tmp_path / "start.pt")]
    assert train([*command, "--dp-epsilon", "8", "--dp-unit", "driver"]) == 1
    assert "holds 'holiday.jpg'" in capsys.readouterr().err


def test_an_epsilon_ends_and_drivers_are_found_where_an_annotator_learnt_from_others(
    start: Checkpoint, people: LabelledFrames, tmp_path: Path
) -> None:
    private = fine_tune(start, people, Budget(5.0, 1e-5, "driver"), RECIPE)
    write_checkpoint(tmp_path / "private.pt", private)
    network = Annotator(AnnotatorConfig(size=start.config.size, widths=(32,)), start.schema)
    others = {"data": "others", "drivers": hash_drivers(["anna"], "others")}
    for lineage, epsilon, anna in ((others, False, True), (others | {"data": "public"}, True, True), ({}, False, None)):
        annotator = TrainedAnnotator.of(network, {}, lineage)
        attach_annotator(annotator, start.schema, tmp_path / "private.pt")
        carried = read_checkpoint(tmp_path / "private.pt")
        assert (carried.lineage["epsilon"] is not None) == epsilon
        assert trained_on(carried.lineage, "anna") is anna and trained_on(carried.lineage, "5")
        write_checkpoint(tmp_path / "private.pt", private)


def test_a_key_that_nobody_has_is_an_error(people: LabelledFrames) -> None:
    with pytest.raises(Refused, match="no driver '99'"):
        without_drivers(people, ["3", "99"])
    keys = driver_keys(without_drivers(people, ["3"]))
    assert keys is not None and "3" not in keys and len(keys) == 44


def test_wrong_budgets(capsys: pytest.CaptureFixture[str], tmp_path: Path, people: LabelledFrames) -> None:
    write_people(tmp_path / "people", people)
    for flags, message in ((["--dp-epsilon", "-1"], "epsilon"), (["--dp-epsilon", "3"], "--init-from")):
        assert train([str(tmp_path / "people"), "-o", str(tmp_path / "run"), *flags]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
