"""What drew the synthetic frames, and whether it learnt from the drivers that are tested."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from audit.lineage.model_lineage import read_model_lineage
from audit.utility import __main__ as utility
from audit.utility.drawn_by import checkpoints_of, drivers_tested, learnt_from_none, refuse_strangers
from audit.utility.inputs import read_real
from audit.utility.plan import read_plan, splits_of
from contract.driver_hashes import hash_drivers
from contract.errors import Refused
from models.checkpoint import write_checkpoint
from tests.audit.utility.conftest import FLAGS, Experiment, Folders
from tests.audit.utility.drawn_drivers import write_drivers
from tests.tiny_checkpoint import tiny_edge_checkpoint

SHORT = (*FLAGS, "--samples", "64", "--seeds", "1", "--json")


def model(path: Path, drivers: Iterable[str] | None) -> str:
    """A checkpoint that was trained on these drivers, None for one that doesn't say; its sha256."""
    listed = None if drivers is None else hash_drivers(drivers, "frames")
    return write_checkpoint(path, replace(tiny_edge_checkpoint(), lineage={"data": "frames", "drivers": listed}))


def drawn(folder: Path, checkpoint: str | None) -> Path:
    """Frames that name the checkpoint that drew them."""
    return write_drivers(folder, 500, seed=9, origin={"origin": "generated", "checkpoint": checkpoint})


def test_the_tested_drivers_are_those_of_validation_and_test(experiment: Experiment, folders: Folders) -> None:
    plan, real = read_plan(experiment.output / "plan.json"), read_real(folders.real, (), 16)
    drivers = plan.drivers
    expected = {str(key) for split in ("validation", "test") for key in drivers[split]}
    assert set(drivers_tested(real, splits_of(plan, real))) == expected
    assert not expected & {str(key) for key in drivers["training"]}


def test_a_model_that_learnt_from_a_tested_driver_is_refused(
    experiment: Experiment, folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = json.loads((experiment.output / "plan.json").read_text())
    tested, training = (str(plan["drivers"][split][0]) for split in ("test", "training"))
    synthetic = drawn(tmp_path / "synthetic", model(tmp_path / "known.pt", [tested, training]))
    argv = [str(folders.real), "--synthetic", str(synthetic), "-o", str(tmp_path / "out"), *SHORT]
    assert utility.main([*argv, "--drawn-by", str(tmp_path / "known.pt")]) == 1
    error = capsys.readouterr().err
    assert f"was trained on 1 of the tested drivers, such as {tested}; train one with --exclude-drivers" in error
    assert error.count("\n") == 1 and not (tmp_path / "out" / "runs").exists()


def test_the_report_says_what_is_known(
    experiment: Experiment, folders: Folders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert experiment.report["sources"]["synthetic"]["tested_drivers_unseen"] is True, "rendered: no model drew it"
    plan = json.loads((experiment.output / "plan.json").read_text())
    known = tmp_path / "known.pt"
    synthetic = drawn(tmp_path / "synthetic", model(known, map(str, plan["drivers"]["training"])))
    argv = [str(folders.real), "--synthetic", str(synthetic), "-o", str(tmp_path / "out"), *SHORT]
    for named, unseen in (((), None), (("--drawn-by", str(known)), True)):
        assert utility.main([*argv, *named]) == 0
        output = capsys.readouterr()
        assert json.loads(output.out)["sources"]["synthetic"]["tested_drivers_unseen"] is unseen
        assert ("isn't known; name a model" in output.err) == (unseen is None)


def test_a_model_that_drew_nothing_is_a_mistake(tmp_path: Path) -> None:
    synthetic = drawn(tmp_path / "synthetic", model(tmp_path / "own.pt", ["1"]))
    model(tmp_path / "other.pt", ["2"])
    models = [read_model_lineage(tmp_path / name) for name in ("own.pt", "other.pt")]
    with pytest.raises(Refused, match=r"other\.pt drew none of the frames"):
        refuse_strangers(models, [synthetic])
    refuse_strangers(models[:1], [synthetic])


def test_what_a_lineage_leaves_open_stays_unknown(tmp_path: Path) -> None:
    synthetic = drawn(tmp_path / "synthetic", model(tmp_path / "silent.pt", None))
    models = [read_model_lineage(tmp_path / "silent.pt")]
    assert learnt_from_none(synthetic, ["1"], models) is None
    unnamed = drawn(tmp_path / "unnamed", None)
    assert checkpoints_of(unnamed) == [None] and learnt_from_none(unnamed, ["1"], models) is None


def test_private_evolution_looked_at_drivers_that_nobody_names(folders: Folders, tmp_path: Path) -> None:
    evolved = write_drivers(tmp_path / "evolved", 8, origin={"renderer": "drawn", "epsilon": 1.0, "delta": 1e-6})
    assert learnt_from_none(evolved, ["1"], []) is None
    assert learnt_from_none(folders.synthetic, ["1"], []) is True
