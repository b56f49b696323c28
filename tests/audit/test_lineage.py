"""Whom a checkpoint, a bundle or a dataset was trained on, and when that isn't known."""

from __future__ import annotations

import json
from pathlib import Path

from audit.lineage.descent import (
    NOT_TRAINED_ON,
    TRAINED_ON,
    UNKNOWN,
    Artefact,
    _by_checkpoints,
    find_artefacts,
    touched_by,
)
from audit.lineage.model_lineage import with_annotator
from contract.dataset import FORMAT
from contract.driver_hashes import hash_drivers
from contract.schemas import CABIN
from models.annotator import Annotator, AnnotatorConfig, TrainedAnnotator
from models.checkpoint import write_annotator


def test_an_annotator_without_a_lineage_is_known_by_its_frames() -> None:
    lineage = {"data": "frames", "drivers": hash_drivers(["ben"], "frames")}
    assert touched_by(with_annotator(lineage, {"data": "frames"}), "anna") == NOT_TRAINED_ON
    assert touched_by(with_annotator(lineage, {"data": "others"}), "anna") == UNKNOWN
    assert touched_by(with_annotator(lineage, None), "anna") == NOT_TRAINED_ON


def test_a_merged_dataset_is_touched_where_one_of_its_parts_is() -> None:
    known = {"a": NOT_TRAINED_ON, "b": TRAINED_ON, "c": UNKNOWN}

    def touched(*checkpoints: str) -> str:
        return _by_checkpoints(Artefact("dataset", "d", checkpoints, UNKNOWN), known).touched

    assert touched("a", "b") == touched("b", "elsewhere") == TRAINED_ON
    assert touched("a") == NOT_TRAINED_ON
    assert touched("a", "c") == touched("a", "elsewhere") == touched() == UNKNOWN


def test_recorded_frames_that_name_their_schema_are_nobodys_work(tmp_path: Path) -> None:
    (tmp_path / "recorded").mkdir()
    (tmp_path / "recorded/dataset.json").write_text(json.dumps({"schema": CABIN.to_dict()}))
    assert find_artefacts([tmp_path], "anna") == []
    (tmp_path / "recorded/dataset.json").write_text(json.dumps({"format": FORMAT}))
    (broken,) = find_artefacts([tmp_path], "anna")
    assert (broken.kind, broken.touched) == ("dataset", UNKNOWN)


def test_an_annotator_by_itself_is_found(tmp_path: Path) -> None:
    network = Annotator(AnnotatorConfig(size=16, widths=(32,), landmarks=("nose",)), CABIN)
    lineage = {"data": "frames", "drivers": hash_drivers(["anna"], "frames")}
    write_annotator(tmp_path / "annotator.pt", TrainedAnnotator.of(network, {}, lineage), CABIN)
    for key, touched in (("anna", TRAINED_ON), ("ben", NOT_TRAINED_ON)):
        (found,) = find_artefacts([tmp_path], key)
        assert (found.kind, found.touched) == ("checkpoint", touched)
