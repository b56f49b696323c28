"""What a data card says, as JSON values: measured figures, and null with a reason where nothing was measured.

card = measure(read_dataset("build/frames"), Stated(license="CC-BY-4.0"))
card["agreement"]              # {"value": 0.9219, "low": 0.8298, "high": 0.9662, "frames": 64, "reason": None}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image

from audit.provenance.check import ProvenanceReport, check
from audit.records import Tally, tally
from contract.bundle import VERSION
from contract.dataset import Dataset, Description
from contract.errors import Refused
from contract.privacy_budget import KEYS

FORMAT = "dms-edge/data-card@1"
NO_PERSONS = "the schema says of no field that it belongs to the person"
UNFINISHED = "the dataset isn't complete; let the command that began it finish first"


@dataclass(frozen=True)
class Stated:
    """What no program can measure: people state it, or the card says that they didn't."""

    license: str | None = None
    """SPDX identifier, for example CC-BY-4.0."""

    purpose: str | None = None
    """What the frames were made for."""

    retention: str | None = None
    """How long they are kept, and who deletes them."""

    contact: str | None = None
    """Whom to write to."""

    def to_dict(self) -> dict[str, Any]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: {"value": value, "reason": _unstated(name, value)} for name, value in values.items()}


def measure(dataset: Dataset, stated: Stated) -> dict[str, Any]:
    """Read every record and every file of a finished dataset; Refused where it is unfinished or a frame is missing."""
    description = dataset.description
    if not description.complete:
        raise Refused(f"{dataset.folder}: {UNFINISHED}")
    found = tally(dataset)
    if not found.all.frames:
        raise Refused(f"{dataset.folder}: has no frames; generate some into another folder")
    return {
        "format": FORMAT,
        "software": VERSION,
        "name": dataset.folder.resolve().name,
        "frames": found.all.frames,
        "bytes": sum(map(_size, _files(dataset))),
        "image": _image(next(_files(dataset))),
        "stated": stated.to_dict(),
        "source": _source(dataset),
        "privacy": _privacy(description),
        "origins": dict(found.origins),
        "conditions": {name: dict(counts) for name, counts in found.all.asked.items()},
        "rejected": description.rejected,
        "provenance": _provenance(check(_files(dataset))),
        "persons": {
            "value": {name: _groups(groups) for name, groups in found.persons.items()} or None,
            "reason": None if found.persons else NO_PERSONS,
        },
    } | _figures(found.all)


def _files(dataset: Dataset) -> Iterator[Path]:
    return (dataset.frame_path(record) for record in dataset.records())


def _figures(found: Tally) -> dict[str, Any]:
    units = {each.name: each.unit for each in found.schema.fields}
    return {
        "agreement": found.agreement().to_dict(),
        "class_agreement": {name: figure.to_dict() for name, figure in found.class_agreement().items()},
        "mean_errors": {name: figure.to_dict() | {"unit": units[name]} for name, figure in found.mean_errors().items()},
    }


def _groups(groups: Mapping[str, Tally]) -> dict[str, Any]:
    return {name: {"frames": found.frames} | _figures(found) for name, found in groups.items()}


def _source(dataset: Dataset) -> dict[str, Any]:
    shown = dataset.description.to_dict()
    names = ("bundle", "checkpoint", "seed", "plan", "backend", "precision", "annotator", "reject_below")
    return {"schema": shown["schema"]["name"]} | {name: shown[name] for name in names}


def _privacy(about: Description) -> dict[str, Any]:
    budget, reason = about.privacy
    return (budget._asdict() if budget else dict.fromkeys(KEYS)) | {"reason": reason or None}


def _provenance(report: ProvenanceReport) -> dict[str, Any]:
    shown = report.to_dict()
    counts = {key: shown[key] for key in ("files", "marked", "signed", "trusted", "manifests_unread")}
    return counts | {"invalid": len(report.invalid)}


def _image(path: Path) -> dict[str, Any]:
    try:
        with Image.open(path) as image:
            size = {"height": image.height, "width": image.width, "channels": len(image.getbands())}
            return size | {"media_type": image.get_format_mimetype()}
    except (OSError, SyntaxError, ValueError) as error:
        raise Refused(f"{path}: not a readable frame ({error}); generate the dataset again") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise Refused(f"{path}: no such file, though a record names it; generate the dataset again") from None


def _unstated(name: str, value: str | None) -> str | None:
    return None if value else f"nobody has stated it; say it with --{name}"
