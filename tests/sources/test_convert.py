"""Recordings become images of one size with drivers and labels, which training reads; videos frame by frame."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from contract.errors import Refused
from sources import convert, inspect
from sources.imagefolder import read_source
from sources.public.record import Sample
from sources.video import read_video
from tests.sources.public.miniatures import MINIATURES

ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="pip install imageio-ffmpeg").get_ffmpeg_exe()

Film = Callable[..., Path]


@pytest.fixture
def film(tmp_path: Path) -> Film:
    """Makes a video of 40 x 24 pixels whose frame n has the grey level 8 n, brighter in its left half."""

    def make(path: Path, frames: int, *options: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = np.repeat(8 * np.arange(frames, dtype=np.uint8), 24 * 40 * 3).reshape(frames, 24, 40, 3)
        levels[:, :, :20] += 40
        format_ = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "40x24", "-r", "10", "-i", "-"]
        command = [ffmpeg, "-loglevel", "error", "-y", *format_, "-c:v", "ffv1", *options, str(path)]
        subprocess.run(command, input=levels.tobytes(), check=True, timeout=60)
        return path

    return make


def level(frame: np.ndarray) -> int:
    """Which frame it is, by its darker half."""
    return round(float(frame[:, -4:].mean()) / 8)


def test_a_video_is_read_frame_by_frame(tmp_path: Path, film: Film) -> None:
    frames = list(read_video(film(tmp_path / "a.mkv", 12)))
    assert [frame.shape for frame in frames] == [(24, 40, 3)] * 12
    assert [level(frame) for frame in frames] == list(range(12))


def test_frames_of_uneven_times_are_neither_doubled_nor_left_out(tmp_path: Path, film: Film) -> None:
    uneven = film(tmp_path / "a.mkv", 12, "-vf", "setpts=PTS*(1+mod(N\\,3))", "-fps_mode", "passthrough")
    assert [level(frame) for frame in read_video(uneven)] == list(range(12))


def test_a_turned_phone_video_stands_upright(tmp_path: Path, film: Film) -> None:
    flat = film(tmp_path / "flat.mp4", 3, "-c:v", "mpeg4", "-q:v", "2")
    turned = tmp_path / "turned.mp4"
    command = [ffmpeg, "-loglevel", "error", "-display_rotation", "90", "-i", str(flat), "-c", "copy", str(turned)]
    subprocess.run(command, check=True, timeout=60)
    (first, *_) = read_video(turned)
    assert first.shape == (40, 24, 3)
    assert abs(float(first[:16].mean()) - float(first[-16:].mean())) > 20, "its bright half is up or down"


@pytest.mark.parametrize("content", [b"", b"no video", b"\0\0\0\x18ftypmp42"])
def test_what_is_no_video_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(Refused, match=r"a\.mp4: not a video that ffmpeg reads"):
        list(read_video(tmp_path / "a.mp4"))


def test_images_become_a_source_that_is_split_by_driver(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    MINIATURES["state-farm"][1](data)
    assert convert.main([str(data), str(out), "--size", "16x12", "--splits", "0.5", "0.5"]) == 0
    assert f"{out / 'train'}: 5 frames of 1 drivers" in capsys.readouterr().out
    train, validation = (read_source(out / split, "document", partial=True) for split in ("train", "validation"))
    assert train.frames.shape == (5, 12, 16, 1) and train.schema.name == "cabin"
    whole = read_source(out, "document", partial=True)
    assert whole.subjects is not None and sorted(whole.subjects.tolist()) == [0] * 5 + [1] * 5
    names = whole.schema.names
    assert not whole.hidden[:, names.index("distraction_type")].any()
    assert whole.hidden[:, names.index("lighting")].all(), "what isn't labelled isn't learned"
    assert len(validation.frames) == 5
    record = json.loads((out / "train/metadata.jsonl").read_text().splitlines()[0])
    assert record["origin"] == "recorded" and record["synthetic"] is False
    assert record["label.classname"] in {f"c{n}" for n in range(10)} and record["lighting"] is None
    assert inspect.main([str(out)]) == 0


def test_every_nth_frame_of_a_span_and_no_frame_past_the_end(
    tmp_path: Path, film: Film, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    MINIATURES["nthu-ddd"][1](data)
    for video in [*data.rglob("*.avi"), *data.rglob("*.mp4")]:
        if not video.name.startswith("."):
            film(video.with_suffix(".mkv"), 4)
            video.with_suffix(".mkv").rename(video)
    assert convert.main([str(data), str(out), "--size", "40x24", "--every", "2"]) == 0
    records = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    shown: dict[str, list[tuple[int, str | None]]] = {}
    for record in records:
        with Image.open(out / record["file_name"]) as image:
            key = f"{record['driver']} {record['label.scenario']}"
            shown.setdefault(key, []).append((level(np.asarray(image)), record.get("label.drowsiness")))
    assert shown["001 glasses"] == [(0, "0"), (2, "0")], "of 4 frames; 4 of the 6 labels is past the end"
    assert "left out: 1 labelled frames past the ends" in capsys.readouterr().out
    assert shown["004 night_noglasses"] == [(0, "1"), (2, "0")]
    assert shown["001 night_noglasses"] == [(0, None), (2, None)], "without annotations: to its end"


def test_nothing_is_left_behind_by_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    MINIATURES["sam-dd"][1](data)
    (data / "SAM-DD(RGB)/Tester12/5/side_RGB/img_10.jpg").write_bytes(b"no image")
    assert convert.main([str(data), str(out)]) == 1
    assert "img_10.jpg: not a readable image" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--size", "64"], 2, "expected width and height, like 128x128"),
        (["--size", "0x9"], 2, "expected width and height"),
        (["--size", "64x00000640"], 2, "expected width and height"),
        (["--splits", "0.2", "0.2", "0.2", "0.2"], 2, "4 shares; expected up to 3"),
        (["--splits", "0.4", "0.3", "0.3"], 2, "2 drivers for 3 splits"),
        (["--splits", "-1", "2"], 2, "expected a share above 0"),
        (["--layout", "dmd"], 1, "no record; expected DMD"),
    ],
)
def test_what_it_refuses(
    arguments: list[str], status: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MINIATURES["state-farm"][1](tmp_path / "data")
    assert convert.main([str(tmp_path / "data"), str(tmp_path / "out"), *arguments]) == status
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MINIATURES["state-farm"][1](tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    assert convert.main([str(tmp_path / "data"), str(tmp_path / "out")]) == 1
    assert "holds something already" in capsys.readouterr().err and (tmp_path / "out/mine.txt").exists()


def test_a_video_of_which_no_frame_is_taken_costs_nothing(tmp_path: Path) -> None:
    short = Sample(tmp_path / "missing.mp4", "anna", span=(5, 8))
    assert list(convert.frames_of(short.file, [short], every=30)) == []


def test_a_folder_beside_it_is_left_alone(tmp_path: Path) -> None:
    MINIATURES["state-farm"][1](tmp_path / "data")
    (tmp_path / "out.part").mkdir()
    (tmp_path / "out.part/mine.txt").write_text("mine")
    assert convert.main([str(tmp_path / "data"), str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out", "out.part"]
    assert (tmp_path / "out.part/mine.txt").read_text() == "mine"
