"""How a file says that no camera took it: the IPTC term, in its XMP packet and in its C2PA manifest.

    digital_source("generated")       # "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"

Writers put the term into every image, the audit reads it back; both take the words from here.
Source: IPTC Digital Source Type NewsCodes, and the IPTC Extension schema of the Photo Metadata Standard.
"""

from __future__ import annotations

from uuid import UUID

VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""Of the terms; the address is an identifier, which nothing here opens."""

IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
"""XML namespace of the XMP property `DigitalSourceType`."""

PROPERTY = "DigitalSourceType"

XMP_IN_PNG = "XML:com.adobe.xmp"
"""Keyword of the iTXt chunk that holds a PNG's packet."""

XMP_IN_MP4 = UUID("be7acfcb-97a9-42e8-9c71-999491e3afac")
"""Type of the top-level box that holds an MP4 file's packet (Adobe's XMP specification, part 3)."""

XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
"""How the APP1 segment begins that holds a JPEG's packet."""

TERMS = {"generated": "trainedAlgorithmicMedia", "rendered": "algorithmicMedia"}
"""The term for each `origin` of a record; a recorded frame carries no mark that it is synthetic."""

SYNTHETIC = frozenset(
    VOCABULARY + term
    for term in (
        *TERMS.values(),
        "compositeSynthetic",
        "compositeWithTrainedAlgorithmicMedia",
        "virtualRecording",
    )
)
"""Every term by which a file may say that it is synthetic, whoever wrote it."""


def digital_source(origin: str) -> str:
    """The IPTC term of an `origin`, `generated` or `rendered`, as the whole URI; KeyError for any other."""
    return VOCABULARY + TERMS[origin]
