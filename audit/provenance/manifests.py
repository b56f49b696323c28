"""C2PA manifests read back: is the signature good, do the pixels fit, what do they say of the file's origin?

    reader = ManifestReader.open()
    manifest = reader.read(Path("frames/00000/00000000.png"))        # None for a file without one
    manifest.valid, manifest.source, manifest.signer

Nothing is fetched. `trusted` is for certificates on a trust list; a development certificate is valid and not trusted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.outputs.signing import MEDIA_TYPES, OFFLINE, load_c2pa

UNTRUSTED = "signingCredential.untrusted"
"""A status that says who signed, not whether the signature holds."""


@dataclass(frozen=True)
class Manifest:
    """What the active manifest of one file says."""

    valid: bool
    """Signature, assertions and the hash of the file's content fit together."""

    trusted: bool
    """The certificate is on a trust list."""

    source: str | None
    """Digital source type of the action that created the file, a URI."""

    signer: str | None
    """Organization and name in the certificate."""

    problems: tuple[str, ...] = ()
    """C2PA's status codes of what doesn't hold, for example `assertion.dataHash.mismatch`."""


class ManifestReader:
    """Reads manifests offline."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._context = library.Context(library.Settings.from_dict(OFFLINE))

    @staticmethod
    def open() -> ManifestReader:
        """Unavailable without c2pa-python."""
        return ManifestReader(load_c2pa())

    def read(self, path: Path) -> Manifest | None:
        """The manifest inside a PNG, JPEG or WebP file, None where it has none; OSError where it can't be read."""
        kind = MEDIA_TYPES.get(path.suffix.lower())
        try:
            with open(path, "rb") as file, self._library.Reader(kind, file, context=self._context) as reader:
                return _manifest(json.loads(reader.json()))
        except self._library.C2paError.ManifestNotFound:
            return None
        except self._library.C2paError as error:
            raise OSError(f"{path}: C2PA can't read it ({error})") from error


def _manifest(report: Mapping[str, Any]) -> Manifest:
    active = report["manifests"][report["active_manifest"]]
    signature = active.get("signature_info") or {}
    codes = [status["code"] for status in report.get("validation_status", ())]
    names = [signature[key] for key in ("issuer", "common_name") if signature.get(key)]
    return Manifest(
        valid=report["validation_state"] in ("Valid", "Trusted"),
        trusted=report["validation_state"] == "Trusted",
        source=next(_sources(active), None),
        signer=", ".join(names) or None,
        problems=tuple(code for code in codes if code != UNTRUSTED),
    )


def _sources(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Digital source types of the actions that created the file."""
    for assertion in manifest.get("assertions", ()):
        if assertion["label"].startswith("c2pa.actions"):
            for action in assertion["data"].get("actions", ()):
                if action.get("action") == "c2pa.created" and action.get("digitalSourceType"):
                    yield action["digitalSourceType"]
