"""The IPTC digital source type in a file's XMP packet.

    read_mark(Path("frames/00000/00000000.png"))      # ".../digitalsourcetype/trainedAlgorithmicMedia", or None

PNG (an iTXt chunk), JPEG (an APP1 segment), WebP (an XMP chunk) and MP4 (a box). A packet comes from strangers: one
with a document type, which could define entities, is no XMP and isn't parsed.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from contract.provenance import IPTC_EXTENSION, PROPERTY, XMP_IN_JPEG, XMP_IN_MP4, XMP_IN_PNG

LARGEST_PACKET = 1 << 20
"""Bytes; a packet of ours has some 400."""

LONG, TO_THE_END = 1, 0
"""Sizes of a box that say where else its size stands."""

_PROPERTY = f"{{{IPTC_EXTENSION}}}{PROPERTY}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


def read_mark(path: Path) -> str | None:
    """The digital source type that a file's XMP states, or None; OSError for what isn't a readable image or video."""
    if path.suffix.lower() == ".mp4":
        return digital_source_of(_packet_of_boxes(path))
    try:
        with Image.open(path) as image:
            packet = _packet(image)
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(f"{path}: not a readable image ({error})") from error
    return digital_source_of(packet)


def _packet(image: Image.Image) -> bytes:
    """The XMP packet where Pillow keeps it, empty where there is none; before 11.0 a JPEG's is a mere segment."""
    found = image.info.get("xmp") or image.info.get(XMP_IN_PNG)
    if found is None:
        segments = [content for _, content in getattr(image, "applist", ()) if content.startswith(XMP_IN_JPEG)]
        found = segments[0].removeprefix(XMP_IN_JPEG) if segments else b""
    return found.encode() if isinstance(found, str) else bytes(found)


def _packet_of_boxes(path: Path) -> bytes:
    """The XMP packet among the boxes at the top of an MP4 file (ISO/IEC 14496-12, 4.2), empty where there is none."""
    with open(path, "rb") as file:
        end = file.seek(0, 2)
        begin = 0
        while begin < end:
            file.seek(begin)
            size, kind = int.from_bytes(file.read(4), "big"), file.read(4)
            if size == LONG:
                size = int.from_bytes(file.read(8), "big")
            elif size == TO_THE_END:
                size = end - begin
            if size < file.tell() - begin or begin + size > end:
                raise OSError(f"{path}: not a readable MP4 file (a box of {size} bytes at byte {begin} of {end})")
            if kind == b"uuid" and file.read(16) == XMP_IN_MP4.bytes:
                return file.read(min(begin + size - file.tell(), LARGEST_PACKET + 1))
            begin += size
    return b""


def digital_source_of(packet: bytes) -> str | None:
    """The value of `Iptc4xmpExt:DigitalSourceType` in an XMP packet, written as an attribute or as an element."""
    if not packet or len(packet) > LARGEST_PACKET or b"<!" in packet:
        return None
    try:
        root = ElementTree.fromstring(packet.strip(b"\0 \r\n\t"))
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    for node in root.iter():
        found = node.get(_PROPERTY) if node.tag != _PROPERTY else node.get(f"{_RDF}resource") or node.text
        if found and found.strip():
            return found.strip()
    return None
