"""Videos of clips: pixels and rate read back by ffmpeg, the mark by ExifTool, and what a failing encoder leaves."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from audit.provenance.__main__ import main as audit
from contract.errors import EdgeError
from contract.frames import ImageShape, psnr
from contract.provenance import digital_source
from runtime.certificate import CERTIFICATE, KEY
from runtime.certificate import main as certify
from runtime.clip_videos import encode_video
from runtime.generate import main
from runtime.merge import main as merge
from runtime.outputs.reader import open_dataset
from tests.fake_bundle import write_fake_bundle

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="no encoder: pip install '.[video]'")

ROOT = Path(__file__).parents[2]
CLIP = ["--clip", "2", "--fps", "4", "--backend", "cpu"]
FRAMES = 8
MIN_PSNR = 35.0
"""Decibels, of smooth pictures at this quality; with red and blue exchanged they have about 10."""


def smooth(channels: int, height: int = 48, width: int = 64, count: int = 10) -> list[np.ndarray]:
    """Pictures whose channels are ramps of different directions, and which all differ."""
    y, x = np.mgrid[0:height, 0:width]
    ramps = np.stack([x / width, y / height, 1 - x / width, np.ones_like(x)], axis=-1)[..., :channels]
    return [np.round(ramps * (255 - 12 * number)).astype(np.uint8) for number in range(count)]


def decoded(content: bytes, path: Path) -> tuple[np.ndarray, dict[str, object]]:
    """All frames uint8 [N, H, W, 3] by ffmpeg, and what it says of the file."""
    path.write_bytes(content)
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    width, height = about["size"]
    return np.stack([np.frombuffer(each, np.uint8).reshape(height, width, 3) for each in reader]), about


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("fps", [4.0, 29.97, 30.0])
def test_a_video_holds_the_pixels_in_their_order_at_their_rate(channels: int, fps: float, tmp_path: Path) -> None:
    frames = smooth(channels)
    content = encode_video(frames, ImageShape(channels, 48, 64), fps, "v")
    found, about = decoded(content, tmp_path / "v.mp4")
    colours = np.stack([np.broadcast_to(frame[..., :3], (48, 64, 3)) for frame in frames])
    assert found.shape == colours.shape and about["fps"] == fps
    assert about["duration"] == pytest.approx(len(frames) / fps, abs=0.01)
    assert psnr(np.square(found.astype(float) - colours).mean((1, 2, 3))).min() > MIN_PSNR
    assert encode_video(frames, ImageShape(channels, 48, 64), fps, "v") == content


def test_every_clip_has_its_video_and_the_same_command_adds_what_is_missing(bundle: Path, tmp_path: Path) -> None:
    output = tmp_path / "d"
    command = [str(bundle), "-o", str(output), "-n", "2", *CLIP]
    assert main(command) == 0 and not (output / "videos").exists()
    assert main([*command, "--video"]) == 0
    videos = {path.name: path.read_bytes() for path in sorted((output / "videos").iterdir())}
    assert list(videos) == ["00000.mp4", "00001.mp4"] and videos["00000.mp4"] != videos["00001.mp4"]
    samples = list(open_dataset(output).samples())
    assert len(decoded(videos["00001.mp4"], tmp_path / "v.mp4")[0]) == FRAMES == len(samples) // 2
    other = tmp_path / "other"
    assert main([str(bundle), "-o", str(other), "--seed", "1", *CLIP, "--video"]) == 0
    assert merge([str(other), str(output), "-o", str(tmp_path / "both")]) == 0
    merged = [path.read_bytes() for path in sorted((tmp_path / "both/videos").iterdir())]
    assert merged == [(other / "videos/00000.mp4").read_bytes(), *videos.values()]
    (output / "videos" / "00001.mp4").unlink()
    assert main([*command, "--video"]) == 0
    assert {path.name: path.read_bytes() for path in sorted((output / "videos").iterdir())} == videos


@pytest.mark.skipif(not shutil.which("exiftool"), reason="ExifTool isn't installed")
def test_exiftool_reads_the_mark_and_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(encode_video(smooth(3), ImageShape(3, 48, 64), 29.97, "v"))
    command = ["exiftool", "-json", "-n", "-validate", "-warning", "-XMP-iptcExt:DigitalSourceType", "-VideoFrameRate"]
    [found] = json.loads(subprocess.run([*command, str(path)], capture_output=True, check=True, timeout=30).stdout)
    assert found["DigitalSourceType"] == digital_source("generated")
    assert found["VideoFrameRate"] == pytest.approx(29.97, abs=0.001)
    assert found["Validate"] == "0 0 0" and "Warning" not in found


def test_signed_videos_hold_a_valid_manifest(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    c2pa = pytest.importorskip("c2pa", reason="c2pa-python isn't installed: pip install '.[sign]'")
    assert certify([str(tmp_path / "c")]) == 0
    sign = ["--sign", str(tmp_path / "c" / CERTIFICATE), str(tmp_path / "c" / KEY)]
    assert main([str(bundle), "-o", str(tmp_path / "d"), *CLIP, "--video", *sign]) == 0
    assert audit([str(tmp_path / "d"), "--signed", "--json"]) == 0
    read = json.loads(capsys.readouterr().out.splitlines()[-1])
    videos = len(list((tmp_path / "d/videos").iterdir()))
    assert read["marked"] == read["signed"] == read["files"] > videos > 0
    content = (tmp_path / "d/videos/00000.mp4").read_bytes()
    report = json.loads(c2pa.Reader("video/mp4", io.BytesIO(content)).json())
    assert report["validation_state"] == "Valid"
    assertions = report["manifests"][report["active_manifest"]]["assertions"]
    [actions] = [each["data"]["actions"] for each in assertions if each["label"].startswith("c2pa.actions")]
    assert actions == [{"action": "c2pa.created", "digitalSourceType": digital_source("generated")}]
    assert digital_source("generated").encode() in content
    assert len(decoded(content, tmp_path / "v.mp4")[0]) == FRAMES


LIMITED = """
import resource, signal, sys
from runtime.generate import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that a write fails, as on a full disk, with an error
raise SystemExit(main(sys.argv[2:]))
"""


def test_an_encoder_that_fails_is_one_line_and_leaves_no_video(tmp_path: Path) -> None:
    """Files may not be larger than `dataset.json`, which is written again; the video is."""
    write_fake_bundle(tmp_path / "bundle", image=ImageShape(3, 128, 128))
    command = [str(tmp_path / "bundle"), "-o", str(tmp_path / "d"), "--clip", "2", "--fps", "30", "--backend", "cpu"]
    assert main(command) == 0
    limit = (tmp_path / "d/dataset.json").stat().st_size + 1
    run = [sys.executable, "-c", LIMITED, str(limit), *command, "--video"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "videos/00000.mp4: the encoder stopped" in done.stderr
    assert not list((tmp_path / "d").rglob("*.mp4*"))
    assert main([*command, "--video"]) == 0 and (tmp_path / "d/videos/00000.mp4").stat().st_size > limit


def test_an_encoder_that_refuses_its_input_is_quoted() -> None:
    with pytest.raises(EdgeError, match=r"name\.mp4: the encoder stopped with exit status .*not divisible by 2"):
        encode_video(smooth(3, height=47), ImageShape(3, 47, 64), 4.0, "name.mp4")


def test_what_cannot_be_read_ends_the_encoder(tmp_path: Path) -> None:
    def broken() -> object:
        yield from smooth(3)[:2]
        raise EdgeError("a frame that can't be read")

    with pytest.raises(EdgeError, match="can't be read"):
        encode_video(broken(), ImageShape(3, 48, 64), 4.0, "v")  # type: ignore[arg-type]


@pytest.mark.parametrize("image", [ImageShape(3, 17, 16), ImageShape(3, 16, 17), ImageShape(2, 16, 16)])
def test_frames_that_mp4_does_not_hold_are_refused_before_the_first(
    image: ImageShape, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fake_bundle(tmp_path / "bundle", image=image)
    assert main([str(tmp_path / "bundle"), "-o", str(tmp_path / "d"), *CLIP, "--video"]) == 2
    assert "expected even sides" in capsys.readouterr().err and not (tmp_path / "d").exists()
