"""Whom a checkpoint, a bundle or a dataset was trained on, and when that isn't known."""

from __future__ import annotations

from audit.lineage.descent import (
    NOT_TRAINED_ON,
    TRAINED_ON,
    UNKNOWN,
    Artefact,
    _by_checkpoints,
    touched_by,
)
from audit.lineage.model_lineage import with_annotator
from contract.driver_hashes import hash_drivers


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
