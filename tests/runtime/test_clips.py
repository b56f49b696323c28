"""Clips on disk: one noise, moving labels, figures of each clip, and resuming."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from contract.clip import move
from contract.dataset import ClipShape, Record
from contract.errors import Refused
from contract.plan import Cell, Plan, Range
from contract.schemas import CABIN, DOCUMENT
from runtime.clips import ClipPlan, shape_of
from runtime.generate import main
from runtime.generator import Generator
from runtime.merge import main as merge
from runtime.outputs.dataset_writer import DatasetWriter
from runtime.outputs.reader import open_dataset
from runtime.outputs.writer import FORMATS
from runtime.verify import main as verify
from tests.fake_bundle import write_fake_bundle

CPU = ["--backend", "cpu"]
CLIP = ["--clip", "1.5", "--fps", "4", *CPU]
FRAMES = 6


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below, by its name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def philox(seed: int, index: int, topic: int) -> np.random.Generator:
    key = np.array([seed, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, topic, 0]))


def test_a_plan_of_clips_gives_the_same_conditions_from_any_frame_on() -> None:
    plan = ClipPlan(Plan(CABIN, [Cell({"fatigue_level": "severe"}, ("lighting",), each=2)]), ClipShape(50, 10.0))
    every = list(plan.conditions(seed=3))
    assert len(every) == plan.count == 50 * 2 * len(CABIN.field("lighting").values)
    for start in (0, 1, 49, 50, 137):
        assert list(itertools.islice(plan.conditions(3, start), 5)) == every[start : start + 5]
    assert [condition["lighting"] for condition in every[::100]] == list(CABIN.field("lighting").values)
    assert every[0]["skin_tone"] == every[49]["skin_tone"] != every[50]["skin_tone"]


def test_a_clip_is_drawn_from_the_philox_streams_of_its_first_frame() -> None:
    """DESIGN.md, word by word: open fields from counter [0, 0, 1, 0], movement from [0, 0, 2, 0]."""
    shape, eyes = ClipShape(50, 10.0), CABIN.names.index("eye_openness")
    plan = ClipPlan(Plan(CABIN, [Cell({"fatigue_level": "severe", "eye_openness": Range(0.5, 1.0)}, each=3)]), shape)
    for clip, first in zip(plan.clips(seed=7), (0, 50, 100), strict=True):
        uniforms = philox(7, first, topic=1).random(len(CABIN.names))
        given = {"fatigue_level": "severe", "eye_openness": 0.5 + 0.5 * float(uniforms[eyes])}
        condition = CABIN.complete(given, philox(7, first, topic=1))
        assert clip == move(CABIN, condition, shape, philox(7, first, topic=2), given), f"from frame {first} on"


def test_a_clip_lasts_as_long_as_was_asked_for() -> None:
    assert shape_of(60, 29.97).seconds >= 60 and shape_of(60, 29.97).frames == 1799
    assert shape_of(60, 30).frames == 1800 and shape_of(0.1, 30).frames == 3 and shape_of(0.001, 1).frames == 1


def test_the_frames_of_a_clip_start_from_one_noise(bundle: Path) -> None:
    with Generator.open(bundle, backend="cpu", batch=4) as generator:
        condition = generator.complete([{}])[0]
        still = itertools.repeat(condition, 2 * FRAMES)
        frames = np.concatenate([batch.frames for batch in generator.stream(still, seed=5, clip_frames=FRAMES)])
        assert (frames[:FRAMES] == frames[0]).all() and (frames[FRAMES:] == frames[FRAMES]).all()
        assert (frames[0] == generator.generate([condition], seed=5)[0]).all()
        assert (frames[0] != frames[FRAMES]).any()
        rest = generator.stream(itertools.repeat(condition, 2 * FRAMES - 4), seed=5, start=4, clip_frames=FRAMES)
        assert (np.concatenate([batch.frames for batch in rest]) == frames[4:]).all()


def test_clips_on_disk_say_where_each_frame_is_and_what_each_clip_shows(bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "d"
    command = [str(bundle), "-o", str(output), "-n", "2", *CLIP]
    assert main(command) == 0
    dataset = open_dataset(output)
    records = list(dataset.records())
    assert dataset.description.clip == ClipShape(FRAMES, 4.0) and len(records) == 2 * FRAMES
    places = [{"index": i // FRAMES, "frame": i % FRAMES, "seconds": i % FRAMES / 4} for i in range(2 * FRAMES)]
    assert [record["clip"] for record in records] == places
    clips = [json.loads(line) for line in (output / "clips.jsonl").read_text().splitlines()]
    assert [clip["index"] for clip in clips] == [0, 1]
    assert all(clip["perclos"] is None and "60 s" in clip["perclos_reason"] for clip in clips)
    before = contents(output)
    assert main(command) == 0
    assert before == contents(output)


def test_a_larger_count_extends_clips_and_their_figures(bundle: Path, tmp_path: Path) -> None:
    assert main([str(bundle), "-o", str(tmp_path / "d"), "-n", "1", *CLIP]) == 0
    for name in ("d", "whole"):
        assert main([str(bundle), "-o", str(tmp_path / name), "-n", "3", *CLIP]) == 0
    assert contents(tmp_path / "d") == contents(tmp_path / "whole")


@pytest.mark.parametrize("layout", FORMATS)
def test_merged_clips_are_numbered_anew(layout: str, bundle: Path, tmp_path: Path) -> None:
    parts = [str(tmp_path / name) for name in ("a", "b", "stills")]
    assert main([str(bundle), "-o", parts[0], "-n", "2", *CLIP]) == 0
    assert main([str(bundle), "-o", parts[1], "-n", "1", "--seed", "1", "--clip", "1", "--fps", "3", *CPU]) == 0
    assert main([str(bundle), "-o", parts[2], "-n", "2", *CPU]) == 0
    for command in ([parts[0], parts[2], "-o", "first"], ["first", parts[1], "-o", "both"]):
        paths = [str(tmp_path / name) for name in command if name != "-o"]
        assert merge([*paths[:-1], "-o", paths[-1], "--format", layout]) == 0
    both = tmp_path / "both"
    records = list(open_dataset(both).records())
    found = [record["clip"] and (record["clip"]["index"], record["clip"]["frame"]) for record in records]
    assert found == [(n, i) for n in (0, 1) for i in range(FRAMES)] + [None] * 2 + [(2, i) for i in range(3)]
    clips = [json.loads(line) for line in (both / "clips.jsonl").read_text().splitlines()]
    assert [(clip["index"], clip["frames"], clip["fps"]) for clip in clips] == [(0, 6, 4.0), (1, 6, 4.0), (2, 3, 3.0)]
    assert verify([str(both)]) == 0
    (both / "clips.jsonl").write_text("")
    assert verify([str(both)]) == 1


def test_a_record_of_another_place_in_its_clip_is_refused(bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "d"
    assert main([str(bundle), "-o", str(output), *CLIP]) == 0
    lines = (output / "metadata.jsonl").read_text()
    (output / "metadata.jsonl").write_text(lines.replace('"frame": 3', '"frame": 4', 1))
    with pytest.raises(Refused, match="line 4: clip"):
        list(open_dataset(output).records())


@pytest.mark.parametrize("reject", [[], ["--reject-below", "0.6"]], ids=["plain", "rejecting"])
@pytest.mark.parametrize("layout", FORMATS)
def test_clips_that_were_interrupted_end_with_the_bytes_of_an_undisturbed_run(
    layout: str, reject: list[str], read_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run stops in the middle of a clip, the second one in the middle of a later one."""
    command = [str(read_bundle), "-n", "4", *CLIP, *reject, "--format", layout, "--batch", "4"]
    assert main([*command, "-o", str(tmp_path / "whole")]) == 0
    append, stops = FORMATS[layout].append, [FRAMES // 2, 2 * FRAMES + 1]  # type: ignore[attr-defined]

    def full_disk(writer: DatasetWriter, records: Sequence[Record]) -> None:
        append(writer, records)
        if stops and writer.written >= stops[0]:
            stops.pop(0)
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(FORMATS[layout], "append", full_disk)
    assert [main([*command, "-o", str(tmp_path / "d")]) for _ in range(3)] == [1, 1, 0]
    assert contents(tmp_path / "d") == contents(tmp_path / "whole")


def test_a_schema_in_which_nothing_moves_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fake_bundle(tmp_path / "bundle", DOCUMENT)
    assert main([str(tmp_path / "bundle"), "-o", str(tmp_path / "d"), *CLIP]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "eye_openness" in error and not (tmp_path / "d").exists()


def test_a_dry_run_counts_the_frames_of_clips(read_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for reject in ([], ["--reject-below", "0.6"]):
        assert main([str(read_bundle), "-n", "5", *CLIP, "--dry-run", "--json", *reject]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["frames"] == 5 * FRAMES and report["seconds"] > 0


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--clip", "2"], "--fps"),
        (["--fps", "2"], "--clip"),
        (["--clip", "2", "--fps", "2", "--raw", "-"], "--clip"),
        (["--clip", "0", "--fps", "2"], "--clip"),
        (["--video"], "--clip"),
        (["--clip", "3600", "--fps", "9000"], "expected at most"),
    ],
)
def test_options_that_do_not_fit_a_clip_are_refused(
    options: list[str], expected: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(bundle), *options]) == 2
    error = capsys.readouterr().err
    assert expected in error and "Traceback" not in error
