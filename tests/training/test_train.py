"""Training learns, goes on where it stopped, and refuses what isn't its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from contract.schemas import CABIN
from models.checkpoint import read_checkpoint
from sources.base import LabelledFrames, fingerprint
from sources.imagefolder import read_source
from sources.render import render
from sources.shards import read_shards
from training import train
from training.batches import Batches
from training.loop import learn
from training.trainer import Settings, Trainer

TINY = Settings(widths=(32,), samples=640, batch=16, lr=2e-3, warmup=32, seed=3)


@pytest.fixture(scope="module")
def source() -> LabelledFrames:
    """48 frames of 16 px whose grey level is the skin tone of their condition."""
    stream = np.random.default_rng(0)
    conditions = [CABIN.complete({}, stream) for _ in range(48)]
    tones = np.array([255.0 * condition["skin_tone"] for condition in conditions])
    frames = np.broadcast_to(tones[:, None, None, None], (48, 16, 16, 3)).astype(np.uint8)
    encoded = CABIN.encode(conditions)
    landmarks = np.full((48, 9, 2), 0.5, dtype=np.float32)
    hidden = np.zeros((48, len(CABIN.fields)), dtype=bool)
    return LabelledFrames(CABIN, frames, encoded, landmarks, hidden, np.arange(48), fingerprint(frames, encoded))


@pytest.fixture(scope="module")
def folder(source: LabelledFrames, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same frames as an imagefolder."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "frames").mkdir()
    with (folder / "metadata.jsonl").open("w") as file:
        for i, condition in enumerate(CABIN.decode(source.conditions)):
            Image.fromarray(source.frames[i]).save(folder / "frames" / f"{i}.png")
            file.write(json.dumps({"file_name": f"frames/{i}.png", **condition}) + "\n")
    return folder


def test_the_loss_falls(source: LabelledFrames) -> None:
    trainer = Trainer(TINY, source)
    losses = [trainer.step() for _ in range(40)]
    assert np.mean(losses[-8:]) < 0.5 * np.mean(losses[:4])
    assert trainer.seen == 640 and trainer.learning_rate() == 0.0


def test_going_on_gives_what_an_uninterrupted_run_gives(source: LabelledFrames, tmp_path: Path) -> None:
    whole = Trainer(TINY, source)
    for _ in range(6):
        whole.step()
    first = Trainer(TINY, source)
    for _ in range(4):
        first.step()
    first.save(tmp_path / "state.pt")
    second = Trainer(TINY, source)
    second.resume(tmp_path / "state.pt")
    for _ in range(2):
        second.step()
    for name, weight in whole.averaged.items():
        assert torch.equal(weight, second.averaged[name]), name


def test_every_frame_comes_once_an_epoch(source: LabelledFrames) -> None:
    batches = Batches(source, TINY.batch, TINY.seed)
    assert sorted(row for number in range(3) for row in batches.rows(number)) == list(range(48))
    assert batches.rows(1).tolist() == Batches(source, TINY.batch, TINY.seed).rows(1).tolist(), "whatever came before"


def test_the_command_trains_resumes_and_finishes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = [str(folder), "-o", str(run), "--batch", "16", "--widths", "32", "--save-every", "64", "--warmup", "16"]
    assert train.main([*command, "--samples", "128"]) == 0
    checkpoint = read_checkpoint(run / "checkpoint.pt")
    assert checkpoint.lineage["samples"] == 128 and checkpoint.guided
    assert {weight.dtype for weight in checkpoint.weights.values()} == {torch.float16}
    assert len((run / "log.jsonl").read_text().splitlines()) >= 1
    assert {path.name for path in run.glob("samples-*.png")} == {"samples-000000064.png", "samples-000000128.png"}
    assert train.main([*command, "--samples", "192"]) == 0, "more samples go on"
    assert "going on after 128" in capsys.readouterr().out
    assert read_checkpoint(run / "checkpoint.pt").lineage["samples"] == 192
    assert train.main([*command, "--samples", "192", "--lr", "0.5"]) == 1
    assert "other lr" in capsys.readouterr().err
    warm = ["-o", str(tmp_path / "warm"), "--init-from", str(run / "checkpoint.pt"), "--samples", "16"]
    assert train.main([*command[:1], *warm, *command[3:]]) == 0
    assert read_checkpoint(tmp_path / "warm" / "checkpoint.pt").lineage["before"]["samples"] == 192


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["nowhere"], 1, "neither shards.json nor metadata.jsonl"),
        (["DATA", "--samples", "0"], 2, "--samples 0"),
        (["DATA", "--lr", "9"], 2, "--lr 9"),
        (["DATA", "--widths", "33"], 2, "multiples of 32"),
        (["DATA", "--patch", "5"], 2, "expected a multiple of"),
        (["DATA", "--init-from", "nothing.pt"], 1, "nothing.pt"),
        (["DATA", "--wrong"], 2, "--wrong"),
        (["DATA", "--device", "abacus"], 1, "--device abacus"),
    ],
)
def test_wrong_arguments_end_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, says: str
) -> None:
    given = [str(folder) if word == "DATA" else word for word in arguments]
    assert train.main([*given, "-o", str(tmp_path / "run")]) == status
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_broken_imagefolder_names_its_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png"}\n')
    with pytest.raises(ValueError, match=r"metadata.jsonl:1: no fatigue_level"):
        read_source(tmp_path, "cabin")
    first = json.loads((folder / "metadata.jsonl").read_text().splitlines()[0])
    (tmp_path / "metadata.jsonl").write_text(json.dumps(first | {"lighting": "dusk"}) + "\n")
    with pytest.raises(ValueError, match="lighting=dusk: expected one of day"):
        read_source(tmp_path, "cabin")
    (tmp_path / "metadata.jsonl").write_text(json.dumps(first) + "\n")
    with pytest.raises(ValueError, match="missing or no whole image"):
        read_source(tmp_path, "cabin")


def test_a_cache_goes_on_and_refuses_another_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sources.render.SHARD", 2)
    monkeypatch.setattr("shutil.which", lambda name: None)  # compiling pays from hundreds of frames on
    assert render(tmp_path / "cache", 3, 16, 1, "cabin") == 4
    before = read_shards(tmp_path / "cache")
    (tmp_path / "cache" / "shard-00001.npz").unlink()
    render(tmp_path / "cache", 4, 16, 1, "cabin")
    after = read_shards(tmp_path / "cache")
    assert before.fingerprint == after.fingerprint and len(after.frames) == 4
    with pytest.raises(ValueError, match="describes other frames"):
        render(tmp_path / "cache", 4, 16, 2, "cabin")


def test_a_run_that_was_stopped_before_its_first_save_begins_anew(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / train.ABOUT).write_text("{}")
    (run / "log.jsonl").write_text("")
    assert train.main([str(folder), "-o", str(run), "--batch", "16", "--widths", "32", "--samples", "16"]) == 0


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04 and nothing more"])
def test_a_damaged_state_is_refused_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / train.STATE).write_bytes(content)
    assert train.main([str(folder), "-o", str(tmp_path), "--batch", "16", "--widths", "32"]) == 1
    error = capsys.readouterr().err
    assert "damaged" in error and error.count("\n") == 1


def test_a_loss_that_isnt_finite_stops_the_run_and_keeps_the_last_good_state(
    source: LabelledFrames, tmp_path: Path
) -> None:
    trainer = Trainer(TINY, source)
    trainer.step()
    train._save(trainer, tmp_path)
    kept = (tmp_path / train.STATE).read_bytes()
    with torch.no_grad():
        next(iter(trainer.weights.values())).fill_(torch.nan)
    with pytest.raises(ValueError, match="loss nan"):
        learn(trainer, tmp_path / "log.jsonl", 16, lambda: train._save(trainer, tmp_path))
    assert (tmp_path / train.STATE).read_bytes() == kept
