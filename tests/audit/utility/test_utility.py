"""The command from end to end: what it reports, what it keeps, and what it refuses."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from audit.stats.confusion import MEASURES, across_tasks
from audit.stats.paired import swap_test
from audit.utility import __main__ as utility
from audit.utility.examples import EACH
from audit.utility.inputs import provenance, refuse_generated
from contract.dataset import FORMAT
from contract.schemas import CABIN
from pictures.image_grid import GAP, ROW_TITLE_WIDTH, tile_size
from tests.audit.utility.conftest import FLAGS, SIZES, Experiment, Folders
from tests.audit.utility.drawn_drivers import write_drivers

DEVIATIONS = 3.0
"""Standard deviations by which the recall of classifiers that know nothing may miss chance. Each of them takes a drawn
class for any other as a whole, so that K classes and S seeds are K * S tries, not as many as there are frames."""

TRAINED = {
    "real": [100],
    "oversampled": [400],
    "augmented": [400],
    "oversampled_and_augmented": [400],
    "real_and_synthetic": [400],
    "real_and_augmented_synthetic": [400],
    "synthetic": [400],
    "synthetic_then_real": [300, 100],
    "more_real": [400],
}


def refused(capsys: pytest.CaptureFixture[str], status: int, *argv: object) -> str:
    assert utility.main([*map(str, argv)]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_every_arm_with_intervals(experiment: Experiment) -> None:
    report = experiment.report
    assert report["domain"] == "pseudo-real (rendered, shifted)" and report["seeds"] == [0, 1]
    assert {arm: found["runs"][0]["frames"] for arm, found in report["arms"].items()} == TRAINED
    for arm in report["arms"].values():
        for figures in (arm, arm["tail"], *arm["tasks"].values()):
            for measure in MEASURES:
                found = figures[measure]
                assert 0.0 <= found["low"] <= found["high"] <= 1.0
        assert {"gender=male", "gender=female", "skin_tone=0 to 0.333"} <= set(arm["groups"])
    splits = report["splits"]
    assert splits["training"]["frames"] == 100
    assert splits["training"]["fatigue_level"]["normal"] > 2 * splits["training"]["fatigue_level"]["severe"]


def test_more_frames_help_where_labels_are_shown(experiment: Experiment) -> None:
    arms = experiment.report["arms"]
    for arm in ("more_real", "real_and_synthetic"):
        assert arms[arm]["macro_f1"]["mean"] > arms["real"]["macro_f1"]["mean"] > 0.3
    first = experiment.report["comparisons"][1]
    assert first["arm"] == "real_and_synthetic" and first["against"][0] == "oversampled" and first["frames"] == "tail"
    assert first["difference"]["low"] <= first["difference"]["mean"] <= first["difference"]["high"]


def test_synthetic_frames_are_read_by_classifiers_that_never_saw_them(experiment: Experiment) -> None:
    across = experiment.report["synthetic_frames"]["synthetic"]
    assert across["frames"] == 100 and set(across["arms"]) == set(TRAINED)
    assert across["arms"]["more_real"]["macro_f1"]["mean"] > 0.5  # their labels are right


def test_the_same_command_trains_nothing_again(
    experiment: Experiment, folders: Folders, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {path: path.stat().st_mtime_ns for path in (experiment.output / "runs").iterdir()}
    assert len(runs) == 2 * 2 * len(TRAINED)  # answers and classifier of each of two seeds
    argv = [str(folders.real), "--synthetic", str(folders.synthetic), "-o", str(experiment.output), "--json"]
    assert utility.main([*argv, "--workers", "1"]) == 0  # the plan knows the sizes
    output = capsys.readouterr()
    assert json.loads(output.out) == experiment.report and not output.err
    assert {path: path.stat().st_mtime_ns for path in (experiment.output / "runs").iterdir()} == runs


def test_workers_train_what_is_missing(
    experiment: Experiment, folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Path(shutil.copytree(experiment.output, tmp_path / "out"))
    lost = [*(output / "runs").glob("real-*.json")]
    before = [json.loads(path.read_text()) for path in lost]
    for path in lost:
        path.unlink()
    argv = [str(folders.real), "--synthetic", str(folders.synthetic), "-o", str(output), "--workers", "2"]
    assert utility.main(argv) == 0
    assert [line.split(";")[0] for line in capsys.readouterr().err.splitlines()] == [
        "1/18: 100 real, seed 0",
        "10/18: 100 real, seed 1",
    ]
    for path, old in zip(lost, before, strict=True):
        new = json.loads(path.read_text())
        assert new["data"] == old["data"]
        for task, answers in old["answers"].items():
            # one thread adds up in another order than two
            assert np.mean(np.equal(answers, new["answers"][task])) > 0.9


def test_the_chart_is_drawn(experiment: Experiment) -> None:
    with Image.open(experiment.output / "utility.png") as image:
        assert image.width == 1000 and len(image.getcolors(1 << 20)) > 20


def test_frames_of_every_class_stand_side_by_side(experiment: Experiment) -> None:
    with Image.open(experiment.output / "examples.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    width, height = tile_size(np.zeros((16, 16, 3), np.uint8))
    classes = sum(len(CABIN.field(task).values) for task in ("fatigue_level", "distraction_type"))
    assert pixels.shape[0] > classes * height and pixels.shape[1] > 2 * EACH * width
    tiles = pixels[-height - GAP : -GAP, ROW_TITLE_WIDTH:]
    assert len(np.unique(tiles.reshape(-1, 3), axis=0)) > 100, "frames, not blanks"


def test_shuffled_labels_are_chance_in_every_arm(
    experiment: Experiment, folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    learned = [experiment.report["arms"][arm] for arm in ("real_and_synthetic", "more_real")]
    argv = [str(folders.real), "--synthetic", str(folders.synthetic), "-o", str(tmp_path / "out"), *FLAGS]
    assert utility.main([*argv, "--shuffle-labels", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["labels"] == "shuffled" and not (tmp_path / "out" / "utility.json").exists()
    arms, seeds = report["arms"].values(), len(report["seeds"])
    for task, chance in report["chance"].items():
        recalls = np.array([arm["tasks"][task]["recall"]["mean"] for arm in arms])
        spread = math.sqrt(chance * (1.0 - chance) * chance / seeds)
        assert np.all(np.abs(recalls - chance) < DEVIATIONS * spread), task
        assert abs(recalls.mean() - chance) < DEVIATIONS * spread / math.sqrt(len(arms)), task
        assert all(arm["tasks"][task]["recall"]["mean"] > chance + DEVIATIONS * spread for arm in learned), task


def test_private_frames_need_an_epsilon(folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = (folders.real, "-o", tmp_path / "out", "--dp")
    assert "no epsilon" in refused(capsys, 1, *command, folders.synthetic, *FLAGS)
    origin = {"renderer": "drawn", "epsilon": 1.0, "delta": 1e-6}
    private = write_drivers(tmp_path / "private", 500, seed=9, origin=origin)
    short = ("--samples", "64", "--seeds", "1", "--json")
    other = (folders.real, "-o", tmp_path / "short", "--dp", private, *FLAGS)
    assert utility.main([*map(str, other), *short]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {"real_and_private", "private"} <= set(report["arms"]) and "synthetic" not in report["arms"]
    assert report["sources"]["private"]["epsilon"] == 1.0


def test_a_plan_is_fixed_before_anything_is_trained(
    folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert utility.main([str(folders.real), "--plan-only", "-o", str(out), *FLAGS]) == 0
    assert "--balance" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["plan.json", "training.jsonl"]
    assert len((out / "training.jsonl").read_text().splitlines()) == 100
    command = (folders.real, "--synthetic", folders.synthetic, "-o", out)
    assert "another training than the plan's" in refused(capsys, 1, *command, "--training", 90)
    others = write_drivers(tmp_path / "others", 1000, seed=1)
    error = refused(capsys, 1, others, "--synthetic", folders.synthetic, "-o", out)
    assert "the hash of the real frames" in error


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_driver_in_two_splits_is_an_error(
    folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    utility.main([str(folders.real), "--plan-only", "-o", str(out), *FLAGS])
    drivers = json.loads((out / "plan.json").read_text())["drivers"]
    drivers["training"].append(drivers["test"][0])
    change(out / "plan.json", drivers=drivers)
    capsys.readouterr()
    error = refused(capsys, 1, folders.real, "--synthetic", folders.synthetic, "-o", out)
    assert f"driver {drivers['test'][0]} in the splits" in error
    drivers["training"].pop()
    drivers["training"].append(drivers["test"].pop())
    change(out / "plan.json", drivers=drivers)
    error = refused(capsys, 1, folders.real, "--synthetic", folders.synthetic, "-o", out)
    assert "hash of the training frames" in error or "hash of the test frames" in error


@pytest.mark.parametrize("mark", ["shards", "record", "dataset"])
def test_generated_frames_are_never_tested_on(
    mark: str, folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if mark == "shards":
        folder = write_drivers(tmp_path / "frames", 20, origin={"origin": "generated"})
    else:
        folder = tmp_path / "frames"
        folder.mkdir()
        origins = ["recorded", "generated" if mark == "record" else "recorded"]
        records = [json.dumps({"file_name": f"{number}.png", "origin": o}) for number, o in enumerate(origins)]
        (folder / "metadata.jsonl").write_text("\n".join(records))
        if mark == "dataset":
            (folder / "dataset.json").write_text(json.dumps({"format": FORMAT}))
    error = refused(capsys, 1, folder, "--synthetic", folders.synthetic, "-o", tmp_path / "out", *FLAGS)
    assert "a generated frame among those to test on" in error and ("metadata.jsonl:2" in error) == (mark == "record")
    assert not (tmp_path / "out").exists()


def test_a_damaged_result_is_named(folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    argv = [str(folders.real), "--synthetic", str(folders.synthetic), "-o", str(out), *SIZES, "--size", "16"]
    short = [*argv, "--samples", "32", "--batch", "32", "--seeds", "1"]
    assert utility.main(short) == 0
    path = next((out / "runs").glob("real-0-*.json"))
    change(path, answers={"fatigue_level": [0], "distraction_type": [0]})
    capsys.readouterr()
    assert path.name in refused(capsys, 1, *short)
    path.write_text("{")
    assert path.name in refused(capsys, 1, *short)
    path.unlink()
    network = next((out / "runs").glob("real-0-*.pt"))
    assert utility.main(short) == 0
    network.write_bytes(network.read_bytes()[:1000])
    capsys.readouterr()
    assert network.name in refused(capsys, 1, *short)


def test_what_the_sizes_need(folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = (folders.real, "--synthetic", folders.synthetic, "-o", tmp_path / "out", *FLAGS)
    assert "frames for test" in refused(capsys, 1, *command, "--test", 2000)
    assert "500 frames; expected 550" in refused(capsys, 1, *command, "--extra", 450)
    assert "size 20; expected" in refused(capsys, 1, *command, "--size", 20)
    assert "no frames to add" in refused(capsys, 2, folders.real)
    assert "eyelash: no field" in refused(capsys, 2, *command, "--tasks", "eyelash", "-o", tmp_path / "tasks")


def test_recorded_frames_that_name_their_schema_can_be_tested_on(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"schema": CABIN.to_dict()}))
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "0.png", "origin": "recorded"}))
    refuse_generated(tmp_path)
    assert provenance(tmp_path)["origin"] is None


def test_nothing_to_compare_has_no_p() -> None:
    tables = [np.zeros((2, 3, 4, 4))]
    assert math.isnan(swap_test(tables, tables, lambda found: across_tasks(found)["macro_f1"]))
