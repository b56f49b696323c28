"""The frames of a video one after the other, as they are shown; ffmpeg decodes them in a process of its own.

for number, frame in enumerate(read_video(Path("0.mov"))): frame      # uint8 [H, W, 3]
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.errors import Refused, Unavailable

EVERY_FRAME = ["-fps_mode", "passthrough"]
"""No frame twice and none left out, whatever times a phone gave them: annotations count frames."""


def read_video(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """Every frame, uint8 [H, W, 3], turned as the file says.

    Refused where it is no video or ends in damage before its first frame, Unavailable without imageio-ffmpeg.
    """
    try:
        import imageio_ffmpeg  # type: ignore[import-untyped]
    except ImportError as error:
        raise Unavailable("videos: imageio-ffmpeg isn't installed; `pip install imageio-ffmpeg`") from error
    frames: Iterator[Any] = imageio_ffmpeg.read_frames(str(path.absolute()), output_params=EVERY_FRAME)
    shown = 0
    try:
        width, height = next(frames)["size"]
        for content in frames:
            yield np.frombuffer(content, np.uint8).reshape(height, width, 3)
            shown += 1
    except (OSError, RuntimeError, KeyError, ValueError, IndexError, StopIteration) as error:
        if not shown:
            raise Refused(f"{path}: not a video that ffmpeg reads; copy it again") from error
