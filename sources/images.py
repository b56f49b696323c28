"""Images that people bring, read as a viewer shows them, and turned into frames of 8 bits.

    pictures = [read_picture(path) for path in paths]
    frames = to_frames(pictures)                      # uint8 [N, H, W, C], or Refused where the shapes differ

EXIF rotation is applied, transparency composited onto white, palettes are resolved. Images of more than 8 bits and of
floating point share one scale, so that a dark frame stays darker than a bright one.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from contract.errors import Refused
from contract.frames import PEAK, Frames

MAX_PIXELS = 64_000_000
"""Of one image: more is a mistake or an attack, and isn't decoded."""

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras deliver in files of 16 bits."""

ORIENTATION = 0x0112
"""EXIF tag: how the camera was held."""

BACKGROUND = "white"
"""What shows through transparent pixels, as in a browser."""


@dataclass(frozen=True)
class Picture:
    """One decoded image."""

    pixels: npt.NDArray[Any]
    """[H, W, C], uint8, uint16 or float32"""

    notes: tuple[str, ...] = ()
    """What was done to show it as it is meant."""


def read_picture(path: Path) -> Picture:
    """Decode an image of any kind that Pillow reads; Refused where it is missing, damaged or too large."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is what counts here
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Refused(f"{path}: {image.width} x {image.height} pixels; expected up to {MAX_PIXELS}")
                return _decode(image)
    except Refused:
        raise
    except FileNotFoundError as error:
        raise Refused(f"{path}: no such image; correct its file_name, or remove its record") from error
    except Exception as error:  # Pillow's plugins raise a dozen types on damage; whatever it is, the image is refused
        raise Refused(f"{path}: not a readable image ({type(error).__name__}); replace it or remove it") from error


def _decode(image: Image.Image) -> Picture:
    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append("several frames, of which the first is taken")
    turned = image.getexif().get(ORIENTATION, 1) not in (0, 1)
    if turned:
        image = ImageOps.exif_transpose(image)
        notes.append("rotated as EXIF says")
    if image.mode.startswith("I") or image.mode == "F":
        pixels = np.asarray(image)
        notes.append("floating point" if image.mode == "F" else "more than 8 bits")
        kind: Any = np.float32 if image.mode == "F" else np.int64
        return Picture(_checked(pixels.astype(kind))[:, :, None], tuple(notes))
    if image.has_transparency_data:
        grey = image.mode in ("LA", "La", "L", "1")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert("L" if grey else "RGB")
        notes.append("transparent, composited onto white")
    elif image.mode not in ("L", "RGB"):
        notes.append(f"converted from {image.mode}")
        image = image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")
    return Picture(np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, -1), tuple(notes))


def _checked(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """uint16 or float32; ValueError for negative values and for those that aren't finite."""
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 65_535:
        raise ValueError("values outside 0 to 65535")
    return pixels if pixels.dtype == np.float32 else pixels.astype(np.uint16)


def to_frames(pictures: Sequence[Picture], what: str = "images") -> Frames:
    """All pictures as frames uint8 [N, H, W, C]; Refused, naming `what`, where they differ in shape.

    Where some are in colour, grey ones become colour, too.
    """
    channels = max(picture.pixels.shape[2] for picture in pictures)
    sizes = Counter(picture.pixels.shape[:2] for picture in pictures)
    if len(sizes) > 1:
        found = " and ".join(f"{count} of {width} x {height}" for (height, width), count in sizes.most_common(2))
        raise Refused(f"{what}: images of {len(sizes)} sizes, {found}; crop or scale them to one size")
    factors = scales(pictures)
    frames = np.empty((len(pictures), *pictures[0].pixels.shape[:2], channels), np.uint8)
    for frame, picture in zip(frames, pictures, strict=True):
        levels = picture.pixels
        if levels.dtype != np.uint8:
            levels = np.rint(np.minimum(levels * factors[levels.dtype.kind], PEAK)).astype(np.uint8)
        frame[:] = levels  # grey broadcasts over three channels
    return frames


def scales(pictures: Sequence[Picture]) -> dict[str, float]:
    """The factor to 8 bits of whole numbers (`u`) and of floating point (`f`), by the largest value of all pictures.

    The depth is the smallest of DEPTHS that holds it; floating point up to 1 is a share, beyond it levels.
    """
    found = {}
    for kind in "uf":
        wide = [p.pixels for p in pictures if p.pixels.dtype.kind == kind and p.pixels.dtype != np.uint8]
        if wide:
            largest = float(max(pixels.max() for pixels in wide))
            peak = 1.0 if kind == "f" and largest <= 1.0 else next(2.0**b - 1.0 for b in DEPTHS if largest < 2.0**b)
            found[kind] = PEAK / peak
    return found
