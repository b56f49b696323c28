"""C2PA manifests: each file says, signed, that a trained model made it.

    signer = FrameSigner.open("build/signing/certificate.pem", "build/signing/key.pem")
    content = signer.sign(png, "image/png")                 # the same picture with a manifest, 3 KB larger

Nothing leaves the machine: no time stamp authority, no revocation list, no remote manifest. No thumbnails either, which
would take thirty times as long and be larger than the frames. A signature holds the time and a random identifier, so
that two signed files are never equal byte by byte. C2PA Technical Specification 2.2; c2pa-python.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contract.bundle import VERSION
from contract.errors import Refused, Unavailable
from contract.provenance import digital_source

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

MEDIA_TYPES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
}
"""What can be signed, by the ending of a file's name."""

CERTIFICATE_COMMAND = "python -m runtime.certificate build/signing"

OFFLINE = {
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
}
"""What the C2PA library may do. It doesn't read back what it has just signed; `audit.provenance` does."""

CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
"""C2PA's name of the signature that goes with each elliptic curve."""


class FrameSigner:
    """Signs files with one certificate; may be used by several threads at once."""

    def __init__(self, context: Any, library: Any) -> None:
        self._context = context
        self._library = library

    @staticmethod
    def open(certificate: str | Path, key: str | Path) -> FrameSigner:
        """Read a certificate chain (PEM, the signing one first) and its private key (PEM, without a password).

        Raises Refused for files that aren't that, don't belong together or are out of date, Unavailable without
        c2pa-python.
        """
        c2pa = load_c2pa()
        chain, private = _read_pem(Path(certificate)), _read_pem(Path(key))
        algorithm = _check_pair(Path(certificate), chain, Path(key), private)
        try:
            signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm, chain, private, None))
            opened = FrameSigner(c2pa.Context(c2pa.Settings.from_dict(OFFLINE), signer), c2pa)
            opened.sign(_SMALLEST_PNG)  # a certificate that C2PA doesn't allow is only found out by signing
        except c2pa.C2paError as error:
            raise Refused(
                f"{certificate}: C2PA can't sign with it ({error}); make one: {CERTIFICATE_COMMAND}"
            ) from error
        return opened

    def sign(self, content: bytes, media_type: str = "image/png", origin: str = "generated") -> bytes:
        """The file with a manifest that states its `origin`; ValueError for content that isn't of `media_type`."""
        signed = io.BytesIO()
        try:
            builder = self._library.Builder(_manifest(origin), self._context)
            builder.sign(media_type, io.BytesIO(content), signed)
        except self._library.C2paError as error:
            raise ValueError(f"not {media_type} that C2PA can sign: {error}") from error
        return signed.getvalue()


def load_c2pa() -> Any:
    """The C2PA library; Unavailable, with the command that installs it, where it isn't there."""
    try:
        import c2pa  # type: ignore[import-untyped]
        import cryptography  # noqa: F401
    except ImportError as error:
        raise Unavailable(f"{error.name or 'c2pa'} isn't installed; run: pip install '.[sign]'") from error
    return c2pa


def _manifest(origin: str) -> dict[str, Any]:
    created = {"action": "c2pa.created", "digitalSourceType": digital_source(origin)}
    return {
        "claim_generator_info": [{"name": "dms-edge", "version": VERSION}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [created]}}],
    }


def _read_pem(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise Refused(f"{path}: no such file; make a development certificate: {CERTIFICATE_COMMAND}") from None
    if b"-----BEGIN " not in content:
        raise Refused(f"{path}: not a PEM file; expected text with -----BEGIN …-----")
    return content


def _check_pair(certificate: Path, chain: bytes, key: Path, private: bytes) -> str:
    """The name of the signature algorithm; Refused where certificate and key don't fit or don't hold today."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise Refused(
            f"{certificate}: not a certificate ({error}); expected PEM, the signing certificate first"
        ) from error
    try:
        loaded = load_pem_private_key(private, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Refused(f"{key}: not a private key without a password ({error}); expected PEM (PKCS #8)") from error
    if loaded.public_key() != leaf.public_key():
        raise Refused(f"{key}: not the key of {certificate}; give the two that were made together")
    _check_dates(certificate, leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    return _algorithm(key, loaded)


def _check_dates(certificate: Path, first: Any, last: Any) -> None:
    from datetime import datetime, timezone

    if not first <= datetime.now(timezone.utc) <= last:
        found = f"valid from {first:%Y-%m-%d} to {last:%Y-%m-%d}"
        raise Refused(f"{certificate}: {found}, and not today; renew it, or make one: {CERTIFICATE_COMMAND}")


def _algorithm(key: Path, private: PrivateKeyTypes) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
        return "ps256"
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in CURVES:
        return CURVES[private.curve.name]
    raise Refused(
        f"{key}: a key that C2PA doesn't allow; expected Ed25519, P-256, P-384, P-521, or RSA of 2048 bits or more"
    )


_SMALLEST_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)
"""One grey pixel."""
