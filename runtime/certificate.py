"""A certificate to develop with, issued by an authority that nobody trusts.

    python -m runtime.certificate build/signing                 # writes certificate.pem and key.pem
    python -m runtime.generate bundle -o frames --sign build/signing/certificate.pem build/signing/key.pem

Whoever verifies such a file sees a valid manifest of an unknown signer. For frames that leave the company, ask one of
the authorities on C2PA's trust list for a certificate, and keep its key in a vault.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from contract.cli import Parser, integer
from contract.errors import Refused, run_command
from contract.files import write_whole
from runtime.outputs.signing import load_c2pa

CERTIFICATE, KEY = "certificate.pem", "key.pem"
PROGRAM = "python -m runtime.certificate"
LONGEST = 825
"""Days; verifiers begin to refuse certificates that are valid for longer."""


def make_certificate(days: int, organization: str, start: datetime | None = None) -> tuple[bytes, bytes]:
    """A certificate chain and its private key, both PEM: P-256, issued by an authority whose key isn't kept.

    It is valid for `days` from `start` on, by default from now.

    C2PA refuses a certificate that signs itself, and one without the extended key usage `emailProtection` or
    `documentSigning` (C2PA Technical Specification 2.2, 14.5).
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        pairs = ((NameOID.ORGANIZATION_NAME, organization), (NameOID.COMMON_NAME, common))
        return x509.Name([x509.NameAttribute(oid, text) for oid, text in pairs])

    def usage(signature: bool) -> x509.KeyUsage:
        return x509.KeyUsage(signature, False, False, False, False, not signature, not signature, False, False)

    start = start or datetime.now(timezone.utc) - timedelta(minutes=5)  # clocks differ
    authority, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    issuer = name("development authority, trusted by nobody")

    def certificate(subject: x509.Name, key: ec.EllipticCurvePrivateKey, is_authority: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=days))
            .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
            .add_extension(usage(signature=not is_authority), critical=True)
        )

    root = certificate(issuer, authority, True).add_extension(identifier, critical=False)
    leaf = (
        certificate(name("development certificate"), own, False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
    )
    pem = serialization.Encoding.PEM
    chain = b"".join(each.sign(authority, hashes.SHA256()).public_bytes(pem) for each in (leaf, root))
    return chain, own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(
        prog=PROGRAM,
        description="Make a C2PA signing certificate for development.",
        epilog=f"example:\n  {PROGRAM} build/signing",
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help=f"where {CERTIFICATE} and {KEY} go")
    parser.add_argument("--days", type=integer(1, LONGEST), default=90, metavar="N", help="how long it is valid (90)")
    parser.add_argument("--organization", default="dms-edge development", metavar="NAME", help="who signs")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    load_c2pa()
    certificate, key = args.folder / CERTIFICATE, args.folder / KEY
    for path in (certificate, key):
        if path.exists():
            raise Refused(f"{path}: exists already; name another folder, or delete it")
    chain, private = make_certificate(args.days, args.organization)
    args.folder.mkdir(parents=True, exist_ok=True)
    before = os.umask(0o077)  # the key is for its owner alone from the first byte on
    try:
        write_whole(key, private)
    finally:
        os.umask(before)
    write_whole(certificate, chain)
    print(f"{certificate} and {key}, valid for {args.days} days; use them: --sign {certificate} {key}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("runtime.certificate", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
