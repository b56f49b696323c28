"""The clips of a finished dataset as MP4 files, to look at and to play to a driver monitor.

    write_videos(open_dataset("frames"))          # videos/00000.mp4, one for each clip

H.264 is lossy: the frames beside the videos stay what the labels belong to. A video carries the same mark as the frames
that it is synthetic, in the place that Adobe's XMP specification (part 3) names for MP4: a `uuid` box at the top level.
"""

from __future__ import annotations

import itertools
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from contract.errors import EdgeError, Unavailable, UsageError
from contract.frames import ImageShape
from contract.progress import progress_bar
from contract.provenance import XMP_IN_MP4
from runtime.outputs.images import Frame, decode_image, xmp_packet
from runtime.outputs.raw_stream import PIXEL_FORMATS
from runtime.outputs.reader import StoredDataset
from runtime.outputs.signing import MEDIA_TYPES, FrameSigner

VIDEOS = "videos"

H264 = ("-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-threads", "1")
"""As good as H.264 looks at half the colour's resolution. One thread: others would give other bytes."""

COLOUR = (
    *("-vf", "scale=out_color_matrix=bt709:out_range=tv", "-colorspace", "bt709", "-color_range", "tv"),
    *("-color_primaries", "bt709", "-color_trc", "iec61966-2-1"),
)
"""Said in the file, since players guess the matrix by the size of the picture otherwise."""

REPEATABLE = ("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact")
"""Neither dates nor versions in the file."""


def video_name(clip: int) -> str:
    """Path of a clip's video inside the dataset."""
    return f"{VIDEOS}/{clip:05d}.mp4"


def check_video_encoder(image: ImageShape) -> None:
    """Unavailable without the encoder, UsageError for frames that MP4 doesn't hold; before the first frame is drawn."""
    _find_encoder()
    if image.channels not in PIXEL_FORMATS or image.height % 2 or image.width % 2:
        found = f"{image.width}x{image.height} with {image.channels} channels"
        raise UsageError(f"--video: frames of {found}; expected even sides and {sorted(PIXEL_FORMATS)} channels")


def write_videos(dataset: StoredDataset, signer: FrameSigner | None = None) -> None:
    """Write the video of every clip that has none yet; a file appears whole or not at all.

    EdgeError where the encoder fails, with the first thing that it said.
    """
    description, storage = dataset.description, dataset.storage
    assert description.clip is not None
    frames, samples = description.clip.frames, iter(dataset.samples())
    for clip in progress_bar(range(description.clips), desc="videos", unit="clip"):
        name, shown = video_name(clip), itertools.islice(samples, frames)
        if storage.size(name):
            next(itertools.islice(shown, frames, frames), None)
            continue
        pictures = (decode_image(sample.content, description.image.channels) for sample in shown)
        content = encode_video(pictures, description.image, description.clip.fps, f"{storage.address}/{name}")
        if signer:
            content = signer.sign(content, MEDIA_TYPES[".mp4"])
        with storage.create(name) as file:
            file.write(content)


def encode_video(frames: Iterable[Frame], image: ImageShape, fps: float, name: str) -> bytes:
    """Frames uint8 [H, W, C] as an MP4 file with the mark; EdgeError, by the file's name, where the encoder fails."""
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "clip.mp4", Path(folder) / "log"
        given = ["-f", "rawvideo", "-pix_fmt", PIXEL_FORMATS[image.channels]]
        given += ["-s", f"{image.width}x{image.height}", "-framerate", repr(float(fps)), "-i", "-"]
        command = [_find_encoder(), "-loglevel", "error", *given, *COLOUR, *H264, *REPEATABLE, str(path)]
        with open(log, "wb") as errors:
            status = _feed(command, frames, errors.fileno())
        if status != 0:
            said = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise EdgeError(f"{name}: the encoder stopped with exit status {status} ({said[0]}); run the command again")
        return path.read_bytes() + _xmp_box()


def _feed(command: list[str], frames: Iterable[Frame], errors: int) -> int:
    """Run the encoder on frames; its exit status."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
    assert process.stdin is not None
    try:
        with process.stdin as pipe:
            for frame in frames:
                pipe.write(frame.tobytes())
    except BrokenPipeError:  # it has stopped, and its exit status says so
        pass
    except BaseException:
        process.kill()
        raise
    finally:
        process.wait()
    return process.returncode


def _xmp_box() -> bytes:
    packet = xmp_packet("generated")
    content = b"uuid" + XMP_IN_MP4.bytes + packet
    return (len(content) + 4).to_bytes(4, "big") + content


def _find_encoder() -> str:
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        raise Unavailable("--video: no encoder; run: pip install '.[video]'") from None
