"""Marks and manifests read back: written in every way that XMP allows, by other programs too, damaged, and forged."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audit.provenance.__main__ import main
from audit.provenance.check import check, find_files
from audit.provenance.marks import digital_source_of, read_mark
from contract.errors import Refused
from contract.provenance import IPTC_EXTENSION, XMP_IN_MP4, digital_source
from runtime.outputs.images import packet_options

TRAINED = digital_source("generated")
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SUFFIXES = ("png", "jpg", "webp")


def packet(attributes: str = "", body: str = "") -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" xmlns:iptc="{IPTC_EXTENSION}" {attributes}>{body}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


MARK = packet(f'iptc:DigitalSourceType="{TRAINED}"')

WAYS = {
    "an attribute": MARK,
    "an element": packet(body=f"<iptc:DigitalSourceType>{TRAINED}</iptc:DigitalSourceType>"),
    "a resource": packet(body=f'<iptc:DigitalSourceType rdf:resource="{TRAINED}"/>'),
    "padded": MARK + b"\0" * 8,
}

NOT_A_MARK = {
    "nothing": b"",
    "another property": packet('iptc:Event="a drive"'),
    "another namespace": MARK.replace(IPTC_EXTENSION.encode(), b"http://example.org/"),
    "cut off": MARK[:200],
    "no XML": b"trainedAlgorithmicMedia",
    "an empty value": packet('iptc:DigitalSourceType=" "'),
    "entities": b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>' + MARK,
    "endless": MARK + b" " * (1 << 20),
}


def write_image(path: Path, xmp: bytes | None = None, seed: int = 0) -> Path:
    image = Image.fromarray(
        np.random.Generator(np.random.Philox(key=[0, seed])).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    )
    codec = {".jpg": "jpeg"}.get(path.suffix, path.suffix[1:])
    image.save(path, **({} if xmp is None else packet_options(codec, xmp)))
    return path


@pytest.mark.parametrize("way", WAYS)
def test_a_mark_is_found_however_it_is_written(way: str) -> None:
    assert digital_source_of(WAYS[way]) == TRAINED


@pytest.mark.parametrize("way", NOT_A_MARK)
def test_what_is_no_mark_is_not_taken_for_one(way: str) -> None:
    assert digital_source_of(NOT_A_MARK[way]) is None


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mark_is_read_from_every_format(tmp_path: Path, suffix: str) -> None:
    assert read_mark(write_image(tmp_path / f"marked.{suffix}", MARK)) == TRAINED
    assert read_mark(write_image(tmp_path / f"plain.{suffix}")) is None


def box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


FTYP = box(b"ftyp", b"isom\0\0\0\0")
XMP = XMP_IN_MP4.bytes + MARK
VIDEOS = {
    "last": FTYP + box(b"mdat", b"\0" * 40) + box(b"uuid", XMP),
    "first": FTYP + box(b"uuid", b"\1" * 16) + box(b"uuid", XMP) + box(b"free", b""),
    "a long size": FTYP + (1).to_bytes(4, "big") + b"uuid" + (16 + len(XMP)).to_bytes(8, "big") + XMP,
    "up to the end": FTYP + (0).to_bytes(4, "big") + b"uuid" + XMP,
}
BROKEN_VIDEOS = {
    "cut off": VIDEOS["last"][:-9],
    "a size smaller than its own": FTYP + (3).to_bytes(4, "big") + b"uuid" + XMP,
    "a long size smaller than its own": FTYP + (1).to_bytes(4, "big") + b"uuid" + (9).to_bytes(8, "big") + XMP,
    "no boxes": MARK,
    "three bytes": b"abc",
}


@pytest.mark.parametrize("way", VIDEOS)
def test_a_mark_is_read_wherever_a_video_has_it(tmp_path: Path, way: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(VIDEOS[way])
    assert read_mark(path) == TRAINED
    path.write_bytes(VIDEOS[way].replace(XMP_IN_MP4.bytes, b"\2" * 16))
    assert read_mark(path) is None


@pytest.mark.parametrize("way", BROKEN_VIDEOS)
def test_a_broken_video_is_named(tmp_path: Path, way: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(BROKEN_VIDEOS[way])
    report = check([path])
    assert "not a readable MP4 file" in report.invalid[str(path)]


@pytest.mark.skipif(not shutil.which("exiftool"), reason="exiftool isn't installed")
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_mark_that_exiftool_wrote_is_read(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / f"frame.{suffix}")
    subprocess.run(["exiftool", "-q", f"-XMP-iptcExt:DigitalSourceType={TRAINED}", str(path)], check=True, timeout=30)
    assert read_mark(path) == TRAINED


def test_every_file_is_counted_and_what_lacks_a_mark_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in SUFFIXES:
        write_image(tmp_path / f"marked.{suffix}", MARK)
    assert main([str(tmp_path)]) == 0
    assert "3 files, 3 marked as synthetic" in capsys.readouterr().out
    plain = write_image(tmp_path / "plain.png")
    camera = write_image(tmp_path / "camera.png", MARK.replace(b"trainedAlgorithmicMedia", b"digitalCapture"))
    (tmp_path / "broken.png").write_bytes(plain.read_bytes()[:20])
    assert main([str(tmp_path), "--json"]) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["files"], report["marked"]) == (6, 3)
    assert report["unmarked"] == [str(camera), str(plain)]
    assert list(report["invalid"]) == [str(tmp_path / "broken.png")]
    assert err.count("\n") == 1 and "2 lack the IPTC mark" in err


@pytest.mark.parametrize("inputs", [["nowhere"], ["."]], ids=["no such file", "no image"])
def test_nothing_to_look_at_is_an_error(tmp_path: Path, inputs: list[str]) -> None:
    with pytest.raises(Refused):
        find_files([tmp_path / name for name in inputs])


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a signed and marked image in each format."""
    pytest.importorskip("c2pa", reason="c2pa-python isn't installed: pip install '.[sign]'")
    from runtime.certificate import main as make
    from runtime.outputs.signing import MEDIA_TYPES, FrameSigner

    folder = tmp_path_factory.mktemp("signed")
    make([str(folder / "keys")])
    signer = FrameSigner.open(folder / "keys" / "certificate.pem", folder / "keys" / "key.pem")
    for suffix in SUFFIXES:
        path = write_image(folder / f"frame.{suffix}", MARK)
        path.write_bytes(signer.sign(path.read_bytes(), MEDIA_TYPES[path.suffix]))
    return folder


def test_mark_and_manifest_are_both_read_back(signed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(signed), "--signed", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["files"], report["marked"], report["signed"], report["trusted"]) == (3, 3, 3, 0)
    assert report["signers"] == {"dms-edge development, development certificate": 3}
    assert report["unsigned"] == [] and report["invalid"] == {}


def test_unsigned_files_fail_where_a_manifest_is_required(tmp_path: Path) -> None:
    path = write_image(tmp_path / "frame.png", MARK)
    assert main([str(path)]) == 0
    assert main([str(path), "--signed"]) == 1


def test_a_changed_picture_is_invalid(signed: Path, tmp_path: Path) -> None:
    content = bytearray((signed / "frame.png").read_bytes())
    content[content.find(b"IDAT") + 40] ^= 1
    (tmp_path / "changed.png").write_bytes(content)
    report = check([tmp_path / "changed.png"])
    assert report.signed == 0 and "assertion.dataHash.mismatch" in report.invalid[str(tmp_path / "changed.png")]


def test_a_manifest_moved_to_another_picture_is_invalid(signed: Path, tmp_path: Path) -> None:
    chunk = png_chunk((signed / "frame.png").read_bytes(), b"caBX")
    other = write_image(tmp_path / "other.png", MARK, seed=1)
    content = other.read_bytes()
    other.write_bytes(content[:33] + chunk + content[33:])  # after the header
    report = check([other])
    assert report.signed == 0 and str(other) in report.invalid


def test_a_signed_claim_that_a_camera_took_it_is_no_mark(signed: Path, tmp_path: Path) -> None:
    import c2pa

    from runtime.outputs.signing import OFFLINE

    keys = [(signed / "keys" / name).read_bytes() for name in ("certificate.pem", "key.pem")]
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo("es256", *keys, None))
    camera = TRAINED.replace("trainedAlgorithmicMedia", "digitalCapture")
    actions = {"actions": [{"action": "c2pa.created", "digitalSourceType": camera}]}
    manifest = {"assertions": [{"label": "c2pa.actions", "data": actions}]}
    path, out = write_image(tmp_path / "camera.png", MARK), io.BytesIO()
    builder = c2pa.Builder(manifest, c2pa.Context(c2pa.Settings.from_dict(OFFLINE), signer))
    builder.sign("image/png", io.BytesIO(path.read_bytes()), out)
    path.write_bytes(out.getvalue())
    assert "digitalCapture" in check([path]).invalid[str(path)]


def png_chunk(content: bytes, kind: bytes) -> bytes:
    """A whole chunk of a PNG: length, type, data and checksum."""
    start = content.index(kind) - 4
    return content[start : start + 12 + int.from_bytes(content[start : start + 4], "big")]
