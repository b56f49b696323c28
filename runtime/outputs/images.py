"""Frames as image files: PNG, lossless WebP or JPEG, each marked as made by a network.

    content = encode_image(frame, "png")                 # bytes, with an XMP packet that states the IPTC source type
    frame = decode_image(content)                        # uint8 [H, W, C]

The mark is `Iptc4xmpExt:DigitalSourceType`, which the IPTC Photo Metadata Standard defines in XMP alone.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from contract.errors import UsageError
from contract.frame_record import SUFFIXES
from contract.provenance import IPTC_EXTENSION, PROPERTY, XMP_IN_JPEG, XMP_IN_PNG, digital_source
from runtime.outputs.signing import FrameSigner

Frame = npt.NDArray[np.uint8]
"""uint8 [H, W, C]"""


@dataclass(frozen=True)
class Codec:
    """One image format."""

    media_type: str
    channels: tuple[int, ...]
    """Numbers of channels that it can hold."""

    lossless: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    """Pillow's settings."""


CODECS = {
    # Runs alone: sensor noise hardly repeats itself, and zlib's own search for repetitions saves 4 % of a file at
    # level 4 for twice the time.
    "png": Codec("image/png", (1, 2, 3, 4), True, {"compress_level": 1, "compress_type": zlib.Z_RLE}),
    # Method 0 of 6: a frame of 64 x 64 takes 2 ms, and is 25 % smaller than the PNG.
    "webp": Codec("image/webp", (1, 3, 4), True, {"lossless": True, "method": 0, "quality": 0, "exact": True}),
    "jpeg": Codec("image/jpeg", (1, 3), False, {"quality": 95, "subsampling": 0}),
}
"""By the name of `--codec`."""


def check_codec(codec: str, channels: int) -> None:
    """UsageError where the format can't hold that many channels."""
    held = CODECS[codec].channels
    if channels not in held:
        fitting = [name for name, other in CODECS.items() if channels in other.channels]
        fix = f"take --codec {fitting[0]}" if fitting else "take --raw"
        raise UsageError(f"--codec {codec}: holds {', '.join(map(str, held))} channels, frames have {channels}; {fix}")


def encode_image(frame: Frame, codec: str = "png", origin: str = "generated") -> bytes:
    """A frame uint8 [H, W, C] as the content of an image file; one channel is grey (WebP stores grey as colour)."""
    content = io.BytesIO()
    image = Image.fromarray(frame[..., 0] if frame.shape[2] == 1 else frame)
    image.save(content, codec, **CODECS[codec].options, **_mark(codec, origin))
    return content.getvalue()


@dataclass(frozen=True)
class FrameEncoder:
    """Frames as image files of one format, signed where there is a certificate; may be used by several threads."""

    codec: str = "png"
    signer: FrameSigner | None = None

    def __call__(self, frame: Frame) -> bytes:
        content = encode_image(frame, self.codec)
        return self.signer.sign(content, CODECS[self.codec].media_type) if self.signer else content


def decode_image(content: bytes, channels: int | None = None) -> Frame:
    """The frame uint8 [H, W, C] in an image file, grey where `channels` is 1; ValueError for anything else."""
    try:
        with Image.open(io.BytesIO(content), formats=tuple(name.upper() for name in SUFFIXES)) as image:
            image.load()
            frame: Frame = np.asarray(image.convert("L") if channels == 1 and image.mode != "L" else image, np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a readable image ({error})") from error
    return frame if frame.ndim == 3 else frame[..., np.newaxis]


@lru_cache(maxsize=8)
def xmp_packet(origin: str) -> bytes:
    """The XMP packet that states where an image comes from."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{IPTC_EXTENSION}"'
        f' Iptc4xmpExt:{PROPERTY}="{digital_source(origin)}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def packet_options(codec: str, packet: bytes) -> dict[str, Any]:
    """What Pillow's `save` is given so that the file holds an XMP packet."""
    if codec == "png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt(XMP_IN_PNG, packet.decode())
        return {"pnginfo": text}
    if codec == "webp":
        return {"xmp": packet}
    segment = XMP_IN_JPEG + packet  # `xmp` isn't known there before Pillow 11
    return {"extra": b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment}


@lru_cache(maxsize=8)
def _mark(codec: str, origin: str) -> dict[str, Any]:
    return packet_options(codec, xmp_packet(origin))
