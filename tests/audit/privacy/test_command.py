"""`python -m audit.privacy` on a checkpoint, a data set and folders that it must refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from audit.privacy.__main__ import main
from audit.privacy.canary_files import canary_path
from audit.privacy.evidence import Evidence
from audit.privacy.fit import fit
from audit.privacy.insert_canaries import main as insert_canaries
from audit.privacy.miniature import draw_people, untrained
from audit.privacy.shadows import main as train_shadows
from audit.privacy.targets import rows_to_draw
from contract.driver_hashes import hash_drivers
from models.checkpoint import SamplerDefaults, read_checkpoint, write_checkpoint
from sources.base import LabelledFrames
from sources.imagefolder import read_source
from tests.audit.privacy.conftest import write_people

FORBIDDEN = ("safe", "anonymous", "compliant")


TOGETHER = NormalDist().inv_cdf(1 - 0.05 / 6)
"""Deviations that three figures stay within together, 19 times in 20."""


def both(folders: Path) -> list[str]:
    return ["--members", str(folders / "members"), "--non-members", str(folders / "others")]


@pytest.fixture(scope="module")
def shadows(checkpoint: Path, folders: Path) -> Path:
    folder = folders / "shadows"
    assert train_shadows([str(checkpoint), *both(folders), "--count", "4", "--steps", "12", "-o", str(folder)]) == 0
    return folder


def test_a_checkpoint_with_every_attack(
    checkpoint: Path, folders: Path, shadows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert insert_canaries([str(folders / "members"), "-o", str(tmp_path / "given"), "--count", "40"]) == 0
    capsys.readouterr()
    files = ["--shadows", str(shadows), "--canaries", str(canary_path(tmp_path / "given")), "-o", str(tmp_path / "out")]
    assert main([str(checkpoint), *both(folders), *files, "--steps", "3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((tmp_path / "out/privacy.json").read_text())
    assert report["status"] == "valid" and report["not_run"] == {}
    names = {item["attack"] for item in report["attacks"]}
    signals = {"loss", "SecMI", "PIA", "SimA"}
    assert names >= signals | {f"{name}, calibrated" for name in signals}
    assert names >= {"DOMIAS", "calibrated distance", "extraction", "attribute group", "attribute group from frames"}
    assert names >= {"driver by loss, calibrated", "driver by DOMIAS"}
    worst = max(item["risk_upper_bound"] for item in report["attacks"])
    assert report["headline"]["risk_upper_bound"] == worst > 0.5
    assert report["proven_epsilon"] is None
    assert 0.0 <= report["audited_epsilon"]["epsilon"] <= report["audited_epsilon"]["ceiling"]
    page = (tmp_path / "out/privacy.html").read_text()
    assert not any(word in page + json.dumps(report) for word in FORBIDDEN)
    assert (tmp_path / "out/copies.png").stat().st_size > 1000


def test_a_model_of_one_timestep_meets_the_attacks_that_it_allows(
    checkpoint: Path, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of pure noise SecMI has no step to take, and PIA and SimA would ask nothing of the model."""
    start = read_checkpoint(checkpoint)
    write_checkpoint(tmp_path / "one.pt", replace(start, sampler=SamplerDefaults((999,), 1, 1.0)))
    assert main([str(tmp_path / "one.pt"), *both(folders), "--draw", "0", "--json", "-o", str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    names = {item["attack"] for item in report["attacks"]}
    assert {"loss", "driver by loss", "attribute group"} <= names
    assert not names & {"SecMI", "PIA", "SimA", "driver by SimA"}
    assert all("too few timesteps" in report["not_run"][name] for name in ("SecMI", "PIA", "SimA"))


def test_frames_are_drawn_for_both_sides_alike(evidence: Evidence) -> None:
    """Else they lie nearer to members by what was asked for, whoever drew them."""
    count = len(evidence.members)
    rows = rows_to_draw(evidence, 2 * count + 10)
    assert (np.bincount(rows[: 2 * count]) == 2).all()
    assert 0.3 < evidence.members[rows[:60]].mean() < 0.7
    assert (rows_to_draw(evidence, count) == rows[:count]).all(), "more frames begin with the same ones"


def test_a_network_that_saw_neither_side_gives_nobody_away(folders: Path, tmp_path: Path) -> None:
    others = draw_people(26, 5, seed=0, first=1000)
    model = fit(untrained(), others.frames, others.conditions, steps=150)
    write_checkpoint(tmp_path / "others.pt", replace(model, sampler=replace(model.sampler, steps=4)))
    assert main([str(tmp_path / "others.pt"), *both(folders), "--steps", "3", "-o", str(tmp_path / "out")]) == 0
    found = {item["attack"]: item for item in json.loads((tmp_path / "out/privacy.json").read_text())["attacks"]}
    for name in ("DOMIAS", "calibrated distance", "driver by DOMIAS"):
        assert abs(found[name]["auc"] - 0.5) <= TOGETHER * found[name]["auc_deviation"], name


def test_a_data_set_alone(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The members themselves, handed out as a synthetic data set: the risk is the largest there is."""
    command = [str(folders / "members"), *both(folders), "-o", str(tmp_path)]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "needs the model" in text and "extraction" in text and "not trained with differential privacy" in text
    report = json.loads((tmp_path / "privacy.json").read_text())
    assert report["headline"]["risk_upper_bound"] == 1.0
    assert main([*command, "--fail-above", "0.5"]) == 1
    assert "risk up to 1, --fail-above 0.5" in capsys.readouterr().err
    assert main([*command, "--fail-above", "1"]) == 0


def test_a_biased_split_is_invalid(
    folders: Path, insiders: LabelledFrames, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    insiders.frames.setflags(write=True)
    frames = insiders.frames.copy()
    frames[:, -1] = 255
    biased = LabelledFrames(**{**vars(insiders), "frames": frames})
    write_people(tmp_path / "biased", biased)
    sides = ["--members", str(tmp_path / "biased"), "--non-members", str(folders / "others")]
    assert main([str(folders / "members"), *sides, "-o", str(tmp_path / "out")]) == 1
    output = capsys.readouterr()
    assert "INVALID" in output.out and "split is biased" in output.err


def test_shadows_of_other_frames_are_refused(
    checkpoint: Path, folders: Path, shadows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(checkpoint), *both(folders), "--shadows", str(shadows), "-o", str(tmp_path)]
    assert main([*command, "--limit", "100"]) == 1
    assert "trained on other frames" in capsys.readouterr().err


def test_shadows_of_another_checkpoint_are_refused(
    folders: Path, shadows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "other.pt", untrained(1))
    assert main([str(tmp_path / "other.pt"), *both(folders), "--shadows", str(shadows), "-o", str(tmp_path)]) == 1
    assert "shadows of another checkpoint than the audited one" in capsys.readouterr().err


def test_members_are_those_of_the_lineage(
    checkpoint: Path, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Swapped folders, or frames that it never saw, would say that nothing leaks."""
    for name, keys in (("right", range(26)), ("swapped", range(26, 52)), ("neither", range(90, 99))):
        lineage = {"drivers": hash_drivers(map(str, keys), "frames")}
        write_checkpoint(tmp_path / f"{name}.pt", replace(read_checkpoint(checkpoint), lineage=lineage))
    brief = [*both(folders), "--draw", "0", "--steps", "2", "--json", "-o", str(tmp_path)]
    assert main([str(tmp_path / "right.pt"), *brief]) == 0
    assert json.loads(capsys.readouterr().out)["members_in_lineage"] == {"drivers": 26, "confirmed": 26}
    for name, message in (("swapped", "26 drivers among the non-members"), ("neither", "no driver among the members")):
        assert main([str(tmp_path / f"{name}.pt"), *brief]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--members", "no-such", "--non-members", "no-such"], 1, "no-such"),
        (["--fail-above", "2"], 2, "expected a risk from 0 to 1"),
        (["--canaries", "no-such.npz"], 1, "no canaries"),
        (["--canaries", __file__], 1, "no canaries"),
    ],
)
def test_bad_input(
    checkpoint: Path,
    folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    found = main([str(checkpoint), *both(folders), *arguments, "-o", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert (found, error.count("\n")) == (status, 1) and message in error
    assert not (tmp_path / "out/privacy.json").exists()


def test_canaries_left_out_never_reach_training(folders: Path, tmp_path: Path) -> None:
    assert insert_canaries([str(folders / "members"), "-o", str(tmp_path / "given"), "--count", "40"]) == 0
    given = read_source(tmp_path / "given", "")
    with np.load(canary_path(tmp_path / "given")) as canaries:
        frames, included = canaries["frames"], canaries["included"]
    there = {frame.tobytes() for frame in given.frames}
    assert [frame.tobytes() in there for frame in frames] == included.tolist()
    assert given.subjects is not None and len(np.unique(given.subjects)) == 26 + included.sum()
