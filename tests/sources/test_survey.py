"""`sources.inspect` says what a folder holds: images, drivers, labels, what maps, and what training would refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sources import inspect
from tests.seat_source import seat_source
from tests.sources.folders import write_images, write_shards
from tests.sources.public.miniatures import MINIATURES


def found(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """What the command reports as JSON."""
    inspect.main([*map(str, arguments), "--json"])
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_an_imagefolder_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = seat_source(12)
    folder = write_images(source, tmp_path / "seats")
    survey = found(capsys, folder)
    assert (survey["kind"], survey["schema"], survey["records"]) == ("imagefolder", "seat", 12)
    assert survey["images"] == {"24 x 16 x 1 uint8": 12} and survey["problems"] == []
    expected = [condition["occupant"] for condition in source.schema.decode(source.conditions)]
    assert survey["fields"]["occupant"]["counts"] == {value: expected.count(value) for value in set(expected)}
    assert survey["fields"]["lamp"]["low"] < survey["fields"]["lamp"]["high"]
    assert inspect.main([str(folder)]) == 0
    text = capsys.readouterr().out
    assert "imagefolder, 12 records, 12 frames, drivers unknown" in text and "24 x 16 x 1 uint8 12" in text


def test_every_problem_is_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_images(seat_source(5), tmp_path / "seats")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    rows[0] |= {"occupant": "dog", "driver": "p1"}
    rows[1] |= {"belt": None, "driver": "p2", "note": "blurred"}
    (folder / "train").mkdir()
    (folder / "train/metadata.jsonl").write_text(json.dumps(rows[4] | {"file_name": "4.png", "driver": "p2"}) + "\n")
    Image.new("L", (5, 5)).save(folder / "train/4.png")
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    (folder / "frames/2.png").write_bytes(b"\x89PNG")
    Image.fromarray(np.full((16, 24), 3000, np.uint16)).save(folder / "frames/3.png")
    survey = found(capsys, folder)
    problems = "\n".join(survey["problems"])
    assert "metadata.jsonl:1: occupant=dog: expected one of none, child, adult" in problems
    assert "2.png: not a readable image" in problems and "images of several sizes" in problems
    assert "driver 'p2' is in the splits '' and 'train'" in problems
    assert survey["fields"]["belt"]["labelled"] == 3 and survey["unmapped"] == {"note": {"blurred": 1}}
    assert survey["images"]["24 x 16 x 1 uint16"] == 1 and survey["notes"]["more than 8 bits"] == 1
    assert survey["drivers"] == {"p1": 1, "p2": 2}
    assert inspect.main([str(folder)]) == 1
    assert "missing in 2" in capsys.readouterr().out


def test_shards_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    survey = found(capsys, write_shards(seat_source(6), tmp_path / "seats"))
    assert (survey["kind"], survey["frames"], survey["images"]) == ("shards", 6, {"24 x 16 x 1 uint8": 6})


def test_a_public_layout_says_what_maps_and_what_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MINIATURES["nthu-ddd"][1](tmp_path)
    survey = found(capsys, tmp_path)
    assert survey["kind"] == "nthu-ddd" and survey["drivers"] == {"001": 8, "004": 4}
    assert (survey["records"], survey["frames"]) == (8, 12), "two videos without annotations count once"
    assert survey["fields"]["fatigue_level"]["counts"] == {"normal": 5}
    assert survey["fields"]["fatigue_level"]["never"] == ["mild", "moderate", "severe"]
    assert survey["unmapped"]["drowsiness"] == {"1": 5}
    assert survey["clips"]["behaviour"]["sleepyCombination"] == 6
    assert inspect.main([str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "fatigue_level    normal 5; never mild, moderate, severe; missing in 7" in text
    assert "clips only       behaviour: sleepyCombination 6" in text and "layout           http://cv.cs.nthu" in text


def test_a_mapping_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MINIATURES["state-farm"][1](tmp_path)
    mapping = tmp_path / "mapping.json"
    mapping.write_text(json.dumps({"columns": {"classname": {"values": {"c6": {"distraction_type": "other"}}}}}))
    survey = found(capsys, tmp_path, "--layout", "state-farm", "--mapping", mapping)
    assert survey["fields"]["distraction_type"]["counts"] == {"other": 1} and survey["images"] == {
        "8 x 6 x 1 uint8": 10
    }
    own = {
        "image": "img",
        "driver": "subject",
        "columns": {"classname": {"values": {"c1": {"distraction_type": "phone"}}}},
    }
    mapping.write_text(json.dumps(own))
    (tmp_path / "own.csv").write_text("img,subject,classname\nimgs/train/c1/img_1.jpg,p1,c1\n")
    survey = found(capsys, tmp_path / "own.csv", "--mapping", mapping, "--no-images")
    assert (survey["kind"], survey["drivers"], survey["images"]) == ("own", {"p1": 1}, {})


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 1, "none of the known layouts (state-farm, drive-act"),
        (["--layout", "imagenet"], 2, "--layout imagenet: expected one of state-farm"),
        (["--layout", "own"], 2, "expected --mapping FILE"),
        (["--layout", "dmd"], 1, "no record; expected DMD"),
        (["--schema", "house", "--layout", "dmd"], 2, "--schema house: expected one of document, cabin"),
    ],
)
def test_what_it_refuses(
    arguments: list[str], status: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inspect.main([str(tmp_path), *arguments]) == status
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
