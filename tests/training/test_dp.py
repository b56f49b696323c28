"""Private fine-tuning, its accountants, and what the lineage says of people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from audit.lineage.__main__ import main as find_lineage
from audit.privacy.miniature import draw_people, untrained
from contract.driver_hashes import hash_drivers, seen_drivers, trained_on
from contract.errors import Refused, UsageError
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
from training.dp import PrivateRecipe, choose_layers, fine_tune, unit_gradients
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
