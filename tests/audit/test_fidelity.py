"""The command from end to end on networks of a few KB, what it keeps, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from audit.fidelity import __main__ as fidelity
from audit.fidelity.chart import series
from audit.fidelity.diversity import CONDITIONS, GROUP
from audit.fidelity.held_out import read_held_out
from audit.fidelity.inputs import open_source
from audit.fidelity.runs import RunFilter
from audit.fidelity.sample_cache import PIECE, cached_samples
from contract.driver_hashes import hash_drivers
from contract.errors import Refused
from contract.noise import open_fields
from contract.schemas import CABIN, DOCUMENT
from models.checkpoint import SamplerDefaults, read_checkpoint, write_checkpoint
from sources.drivers import driver_keys, drivers_of
from sources.shards import read_shards
from tests.audit.conftest import write_shards
from tests.fake_bundle import write_fake_bundle
from tests.test_imports import run_without
from tests.tiny_checkpoint import tiny_checkpoint, tiny_edge_checkpoint

FRAMES = 10


def audit(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    status = fidelity.main([*map(str, argv), "--frames", str(FRAMES), "--json"])
    output = capsys.readouterr()
    assert status == 0, output.err
    found: dict[str, Any] = json.loads(output.out)
    return found


def refused(capsys: pytest.CaptureFixture[str], status: int, *argv: object) -> str:
    assert fidelity.main([*map(str, argv)]) == status
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where checkpoints are written; audits that draw the same runs share `out`."""
    return tmp_path_factory.mktemp("fidelity")


def test_a_table_of_samplers_and_steps(
    tiny: Path, held_out: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = replace(read_checkpoint(tiny), diffusion=replace(tiny_edge_checkpoint().diffusion, timesteps=20))
    write_checkpoint(folder / "short.pt", short)
    out = folder / "out"
    vectors = read_shards(held_out).conditions
    several = np.concatenate([vectors, np.repeat(vectors[:CONDITIONS], GROUP - 1, axis=0)])
    again = write_shards(folder / "rerendered", len(several), seed=1, vectors=several)
    asked = (folder / "short.pt", "--held-out", held_out, "--rerendered", again, "-o", out)
    asked += ("--steps", 3, 2, "--sampler", "ddim", "ddpm", "--ddpm-frames", 8)
    found = audit(capsys, *asked)
    assert found == json.loads((out / "fidelity.json").read_text())
    assert [(r["sampler"], r["steps"], r["frames"]) for r in found["runs"]] == [
        ("ddim", 3, FRAMES),
        ("ddim", 2, FRAMES),
        ("ddpm", 20, 8),
    ]
    first = found["runs"][0]
    assert (first["model"], first["precision"], first["guidance"]) == ("short", "fp32", 2.0)
    classes = {f.name for f in CABIN.fields if f.is_class}
    assert set(first["class_accuracy"]) == set(found["annotator"]["class_accuracy"]) == classes
    for name in (
        "mean_class_accuracy",
        "fd_dms",
        "kd_dms",
        "precision_dms",
        "recall_dms",
        "density_dms",
        "coverage_dms",
    ):
        low, high = first["intervals"][name]
        assert low <= high and (name == "kd_dms" or low <= first[name] <= high), name
    assert [floor["frames"] for floor in found["floors"]] == [8, FRAMES]
    assert found["floors"][1]["fd_dms"] < first["fd_dms"], "noise is further from rendered frames than they are"
    assert first["diversity"]["pixels_share"] > 0
    assert first["difference"]["to"] == "short ddpm 20 fp32 g2" and first["difference"]["frames"] == 8
    assert found["runs"][2]["difference"] is None and found["nearest"] is None
    for name in ("steps.png", "fidelity.png"):
        with Image.open(out / name) as image:
            assert min(image.size) > 200


def test_bfloat16_draws_about_the_same(
    tiny: Path, held_out: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = []
    for kind in ("fp32", "bf16"):
        found = audit(capsys, tiny, "--held-out", held_out, "--steps", 2, "--torch", kind, "-o", folder / "out")
        (run,) = found["runs"]
        assert run["precision"] == kind
        drawn.append(run["fd_dms"])
    assert drawn[0] != drawn[1] and drawn[1] == pytest.approx(drawn[0], rel=0.05)


def test_frames_are_drawn_once(tiny: Path, held_out: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out"
    before = audit(capsys, tiny, "--held-out", held_out, "--steps", 2, "-o", out)
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    assert written
    after = audit(capsys, tiny, "--held-out", held_out, "--steps", 2, 1, "-o", out)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert {name: after["runs"][0][name] for name in before["runs"][0] if name != "difference"} == {
        name: value for name, value in before["runs"][0].items() if name != "difference"
    }
    assert after["runs"][1]["steps"] == 1


def test_a_damaged_piece_or_one_of_other_conditions_is_drawn_again(tmp_path: Path) -> None:
    drawn: list[range] = []

    def draw(vectors: Any, indices: range) -> Any:
        drawn.append(indices)
        return np.stack([np.full((2, 2, 3), index % 256, np.uint8) for index in indices])

    vectors = np.random.default_rng(0).random((PIECE + 3, 4), dtype=np.float32)
    first = cached_samples(tmp_path, draw, vectors)
    assert drawn == [range(0, PIECE), range(PIECE, PIECE + 3)] and first[-1, 0, 0, 0] == PIECE + 2
    assert np.array_equal(cached_samples(tmp_path, draw, vectors), first) and len(drawn) == 2
    assert len(cached_samples(tmp_path, draw, vectors[: PIECE + 1])) == PIECE + 1 and len(drawn) == 2
    path = tmp_path / f"{0:010d}.npz"
    path.write_bytes(path.read_bytes()[:-40])
    cached_samples(tmp_path, draw, vectors)
    assert drawn[2:] == [range(0, PIECE)]
    np.savez(path, frames=first[:PIECE], vectors=vectors[:PIECE] + 1)
    cached_samples(tmp_path, draw, vectors)
    assert drawn[3:] == [range(0, PIECE)]


def test_every_run_starts_from_the_same_noise_whatever_the_batch(tiny: Path) -> None:
    vectors = CABIN.encode([CABIN.complete({}, open_fields(0, index)) for index in range(6)])
    parts = []
    for batch in (2, 6):
        source = open_source(tiny, batch=batch)
        (run,) = source.runs(RunFilter(steps=(2,)))
        with source.drawer(run) as draw:
            parts.append(draw(vectors, range(6)))
    assert np.abs(parts[0].astype(int) - parts[1]).max() <= 1


def test_guidance_is_swept_and_a_student_keeps_to_its_own(
    tiny: Path, held_out: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = replace(read_checkpoint(tiny), sampler=SamplerDefaults((999, 499), 2, 1.0))
    write_checkpoint(folder / "student.pt", student)
    asked = (
        "--held-out",
        held_out,
        "--against",
        folder / "student.pt",
        "--steps",
        1,
        "--guidance",
        1,
        3,
        "-o",
        folder / "out",
    )
    found = audit(capsys, tiny, *asked)
    assert [(r["model"], r["steps"], r["guidance"]) for r in found["runs"]] == [
        ("tiny", 1, 1.0),
        ("tiny", 1, 3.0),
        ("student", 2, 1.0),
    ]
    lines = series(found["runs"], "fd_dms")
    assert len(lines) == 3 and all(p.low <= p.value <= p.high for points in lines.values() for p in points)


def test_training_frames_are_searched_for_copies(
    tiny: Path, held_out: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write_shards(folder / "train", 16, seed=2)
    found = audit(capsys, tiny, "--held-out", held_out, "--steps", 1, "-o", folder / "copies", "--train", train)
    assert found["held_out"]["source"] == str(held_out) and found["floors"] == []
    assert "pixels_share" not in found["runs"][0]["diversity"]
    nearest = found["nearest"]
    assert nearest["training_frames"] == 16 and len(nearest["frames"]) == FRAMES
    ratios = [item["ratio"] for item in nearest["frames"]]
    assert ratios == sorted(ratios) and nearest["runs"][0]["smallest"] == ratios[0]
    assert (folder / "copies" / "nearest.png").is_file()


def test_rerendered_frames_are_found_by_their_condition(held_out: Path, folder: Path) -> None:
    image = read_shards(held_out).image
    vectors = read_shards(held_out).conditions
    backwards = write_shards(folder / "backwards", 16, seed=3, vectors=vectors[::-1].copy())
    found = read_held_out(held_out, CABIN, image, 12, [backwards])
    assert found.rerendered is not None and found.same_condition is None, "one of each condition, not several"
    assert np.array_equal(found.rerendered, read_shards(backwards).frames[::-1][:12])
    apart = vectors[[0, 2, 3, 5, 6, 8, 9, 11]]
    several = write_shards(folder / "several", CONDITIONS * GROUP, 4, np.repeat(apart, GROUP, axis=0))
    found = read_held_out(held_out, CABIN, image, 12, [several])
    assert found.rerendered is None and found.same_condition is not None
    assert np.array_equal(found.same_condition_vectors, read_shards(several).conditions)
    assert np.array_equal(found.same_condition, read_shards(several).frames)
    with pytest.raises(Refused, match="very same conditions"):
        read_held_out(held_out, CABIN, image, 12, [write_shards(folder / "unrelated", 16, seed=5)])


def test_two_files_of_one_name_are_told_apart_by_their_folders(tiny: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_checkpoint(tmp_path / name / "checkpoint.pt", read_checkpoint(tiny))
    sources = [
        open_source(path) for path in (tmp_path / "first/checkpoint.pt", tiny, tmp_path / "second/checkpoint.pt")
    ]
    fidelity.distinguish_names(sources)
    assert [source.name for source in sources] == ["first/checkpoint", "tiny", "second/checkpoint"]


def test_the_tables_name_every_field(
    tiny: Path, held_out: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        fidelity.main(
            [str(tiny), "--held-out", str(held_out), "--steps", "1", "--frames", str(FRAMES), "-o", str(folder / "out")]
        )
        == 0
    )
    table = capsys.readouterr().out
    expected = (*CABIN.names, "gaze_angle (degrees)", "FD-dms", "tiny ddim 1 fp32 g2", "steps.png")
    assert [name for name in expected if name not in table] == []


def test_data_sets_stand_beside_the_runs(
    tiny: Path, held_out: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The held-out folder itself is nearer than another."""
    other = write_shards(folder / "dataset", 8, seed=5)
    asked = [tiny, "--held-out", held_out, "--steps", "1", "--frames", FRAMES, "-o", folder / "out"]
    asked += ["--datasets", held_out, other]
    found = audit(capsys, *asked)
    same, apart = found["datasets"]
    assert (same["source"], same["frames"], apart["frames"]) == (str(held_out), FRAMES, 8)
    assert same["fd_dms"] < 0.5 * apart["fd_dms"]
    assert fidelity.main([*map(str, asked)]) == 0
    lines = capsys.readouterr().out.splitlines()
    ends = {line.index("[") for line in lines if line.startswith((str(other), "annotator on", "tiny ddim"))}
    assert len(ends) == 1, "figures of one kind stand in one column"


def test_rows_of_a_data_set_lie_evenly_apart() -> None:
    assert fidelity.evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert fidelity.evenly(3, 10).tolist() == [0, 1, 2]


def test_what_cannot_be_audited_is_refused_in_one_line(
    tiny: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_checkpoint(tmp_path / "bare.pt", tiny_edge_checkpoint())
    write_checkpoint(tmp_path / "other.pt", tiny_checkpoint())
    write_fake_bundle(tmp_path / "bundle")
    out = ("--held-out", held_out, "-o", tmp_path / "out")
    assert "python -m training.train_annotator" in refused(capsys, 1, tmp_path / "bare.pt", *out)
    assert "carries no annotator" in refused(capsys, 1, tiny, "--annotator", tmp_path / "bare.pt", *out)
    assert "another schema" in refused(capsys, 1, tiny, tmp_path / "other.pt", *out)
    assert "no such bundle or checkpoint" in refused(capsys, 1, tmp_path / "nothing", *out)
    student = replace(read_checkpoint(tiny), sampler=SamplerDefaults((999, 499), 2, 1.0))
    write_checkpoint(tmp_path / "student.pt", student)
    for one, steps in (("bundle", 3), ("student.pt", 2)):
        assert f"draws in {steps} steps alone" in refused(capsys, 2, tmp_path / one, "--steps", 50, *out)
    assert "has 1 baked in" in refused(capsys, 2, tmp_path / "student.pt", "--guidance", 2, *out)
    assert "need its teacher" in refused(capsys, 2, tmp_path / "bundle", "--sampler", "ddpm", *out)
    assert "only fp32" in refused(capsys, 2, tmp_path / "bundle", "--precision", "int4", *out)
    assert "is drawn in fp32" in refused(capsys, 2, tiny, "--precision", "int8", *out)
    assert "expected a number from 0 to 100" in refused(capsys, 2, tiny, "--guidance", -1, *out)
    assert "--frames" in refused(capsys, 2, tiny, "--frames", 3, *out)
    assert "neither shards.json" in refused(capsys, 1, tiny, "--train", tmp_path / "bundle", *out)
    few = write_shards(tmp_path / "few", 3)
    assert "3 frames; --datasets expects" in refused(capsys, 1, tiny, "--frames", 16, "--datasets", few, *out)
    assert "--held-out" in refused(capsys, 2, tiny)
    assert "--frames asks for 17" in refused(capsys, 1, tiny, "--frames", 17, *out)
    large = write_shards(tmp_path / "large", 8, size=32)
    assert "the model draws 16 x 16 x 3" in refused(capsys, 1, tiny, "--held-out", large, "-o", tmp_path / "out")
    other = write_shards(tmp_path / "other", 8, schema=DOCUMENT)
    assert "'document'" in refused(capsys, 1, tiny, "--held-out", other, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_frames_of_drivers_that_an_input_learnt_from_are_refused(
    tiny: Path, held_out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = driver_keys(read_shards(held_out))
    assert keys
    out = ("--held-out", held_out, "-o", tmp_path / "out", "--frames", FRAMES)
    lineage = {"data": "0", "drivers": hash_drivers(["4711", keys[0]], salt="0")}
    seen = tmp_path / "seen" / "tiny.pt"  # of the input's own name
    seen.parent.mkdir()
    write_checkpoint(seen, replace(read_checkpoint(tiny), lineage={"before": lineage}))
    message = refused(capsys, 1, seen, *out)
    assert f"tiny was trained on 1 of its drivers, such as {keys[0]}" in message
    assert "trained on 1" in refused(capsys, 1, tiny, "--annotator", seen, *out)
    assert "trained on 1" in refused(capsys, 1, seen, "--annotator", tiny, *out)
    assert not (tmp_path / "out").exists()


def test_intervals_are_of_drivers(held_out: Path) -> None:
    source = read_shards(held_out)
    assert source.subjects is not None
    assert np.array_equal(drivers_of(source), source.subjects)
    assert np.array_equal(drivers_of(replace(source, subjects=None)), np.arange(len(source.frames)))
    alone = replace(source, subjects=np.zeros(len(source.frames), np.int64))
    assert np.array_equal(drivers_of(alone), np.arange(len(source.frames))), "one driver: nothing else to draw again"


def test_a_bundle_repeats_the_rows_of_its_checkpoint(
    tiny: Path, held_out: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from export.bundle_writer import write_bundle
    from export.sampler import choose_sampler

    checkpoint, bundle = read_checkpoint(tiny), folder / "bundle"
    write_bundle(checkpoint, str(bundle), choose_sampler(checkpoint, 2), ["fp32"], "quick")
    out = folder / "out"
    found = audit(capsys, bundle, "--held-out", held_out, "-o", out)
    assert [(run["model"], run["steps"], run["precision"]) for run in found["runs"]] == [("bundle", 2, "fp32")]
    both = audit(capsys, tiny, "--held-out", held_out, "--against", bundle, "--steps", 2, "-o", out)["runs"]
    assert [run["model"] for run in both] == ["tiny", "bundle"]
    assert both[0]["fd_dms"] == pytest.approx(both[1]["fd_dms"], rel=0.01)
    assert both[0]["mean_class_accuracy"] == pytest.approx(both[1]["mean_class_accuracy"], abs=0.03)


def test_a_bundle_is_audited_where_torch_cannot_be_imported(
    held_out: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its frames show what was asked for, and its annotator reads that; neither needs torch."""
    write_fake_bundle(folder / "fake", annotator=True)
    command = (folder / "fake", "--held-out", held_out, "-o", folder / "out")
    found = audit(capsys, *command)
    (row,) = found["runs"]
    assert row["mean_class_accuracy"] > 0.8 > 0.6 > found["annotator"]["mean_class_accuracy"], "it reads these alone"
    done = run_without({"torch"}, "audit.fidelity.__main__", *command, "--frames", FRAMES, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == found
