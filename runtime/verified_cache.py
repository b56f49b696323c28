"""Earlier results of replaying a bundle's files on this machine: `verified.json`.

    result = replay(folder, manifest, file, reference, draw, batches=(8,))
    save_result(state, manifest, result)                           # into verified.json

A result counts for one bundle, file and device, and no other.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contract.bundle import FIX, VERSION, Manifest
from contract.errors import ParityError, Refused
from contract.files import parse_json, write_whole
from contract.parity import Draw, Reference, compare, gates_of

FORMAT = "dms-edge/verified@1"
VERIFIED = "verified.json"


def replay(
    folder: Path, manifest: Manifest, file: str, reference: Reference, draw: Draw, batches: Sequence[int]
) -> dict[str, Any]:
    """Draw the reference frames again at each batch size; what was measured, and whether it is good enough."""
    try:
        gates = gates_of(manifest.files[file].precision, manifest.parity.get(file))
    except ValueError as error:
        raise Refused(f"{file}: {error}; {FIX.format(folder=folder)}") from error
    comparison = compare(draw, reference, dict.fromkeys(batches, len(reference.frames)), gates)
    faults = comparison.faults
    return {"file": file, **comparison.to_dict(), "faults": faults, "verified": not faults}


def require_verified(folder: Path, result: Mapping[str, Any]) -> None:
    """ParityError, with the figures and the worst condition, where a replay wasn't good enough."""
    if not result["verified"]:
        where = f"{folder / result['file']} on {result['device']}"
        worst = f"condition {result['worst']} is the worst"
        raise ParityError(f"{where}: {'; '.join(result['faults'])}; {worst}; {FIX.format(folder=folder)}")


def new_report(manifest: Manifest) -> dict[str, Any]:
    """`verified.json` of this bundle on this machine, with nothing in it yet."""
    about = {"format": FORMAT, "bundle": manifest.digest, "software": VERSION, "machine": platform.platform()}
    return about | {"hashed": 0, "replayed": [], "annotated": {}, "skipped": {}}


def read_verified(state: Path, manifest: Manifest) -> dict[str, Any]:
    """`verified.json` where it is of this bundle, else a new one: a damaged file is as good as none."""
    empty = new_report(manifest)
    try:
        report = parse_json((state / VERIFIED).read_bytes())
        good = isinstance(report, dict) and set(report) == set(empty) and isinstance(report["replayed"], list)
        good = good and all(isinstance(entry, dict) for entry in report["replayed"])
        return report if good and (report["format"], report["bundle"]) == (FORMAT, manifest.digest) else empty
    except (OSError, ValueError):
        return empty


def was_verified(state: Path, manifest: Manifest, file: str, device: str) -> bool:
    """Whether this file of this bundle passed on this very device."""
    replayed = read_verified(state, manifest)["replayed"]
    return any((e.get("file"), e.get("device"), e.get("verified")) == (file, device, True) for e in replayed)


def save_result(state: Path, manifest: Manifest, result: Mapping[str, Any], required: bool = True) -> None:
    """Add a result to `verified.json`, in place of an older one of the same file and device.

    Refused where the folder can't be written, unless the result isn't `required` to be kept.
    """
    report = read_verified(state, manifest)
    same = (result["file"], result["device"])
    others = [entry for entry in report["replayed"] if (entry.get("file"), entry.get("device")) != same]
    try:
        write_report(state, report | {"replayed": [*others, dict(result)]})
    except Refused:
        if required:
            raise


def write_report(state: Path, report: Mapping[str, Any]) -> None:
    """Write `verified.json`; Refused where the folder takes none, with the option that names another."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        write_whole(state / VERIFIED, json.dumps(report, indent=1).encode() + b"\n")
    except OSError as error:
        fix = "name a writable folder with --state DIR"
        raise Refused(f"{state / VERIFIED}: {error.strerror or error}; {fix}") from error
