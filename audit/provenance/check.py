"""Every file's mark and manifest, and what is missing.

report = check(find_files([Path("build/frames")]))
report.unmarked, report.invalid
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit.provenance.manifests import Manifest, ManifestReader
from audit.provenance.marks import read_mark
from contract.dataset import DESCRIPTION, read_dataset
from contract.errors import Refused, Unavailable
from contract.provenance import SYNTHETIC
from runtime.clip_videos import VIDEOS
from runtime.outputs.signing import MEDIA_TYPES


@dataclass
class ProvenanceReport:
    """Counts over all files, and the names of those that lack something."""

    files: int = 0
    marks: Counter[str] = field(default_factory=Counter)
    """How many files state each digital source type in XMP."""

    signers: Counter[str] = field(default_factory=Counter)
    """How many valid manifests each signer signed."""

    trusted: int = 0
    """Valid manifests whose certificate is on a trust list."""

    unmarked: list[str] = field(default_factory=list)
    """Files whose XMP doesn't state that they are synthetic."""

    unsigned: list[str] = field(default_factory=list)
    """Files without a manifest."""

    invalid: dict[str, str] = field(default_factory=dict)
    """Files that can't be read, whose manifest doesn't hold, or whose manifest says that a camera took it; with why."""

    manifests_unread: str | None = None
    """Why no manifest was looked at, None where they were; `unsigned` is then empty and says nothing."""

    @property
    def marked(self) -> int:
        """Files whose XMP states that they are synthetic."""
        return sum(count for mark, count in self.marks.items() if mark in SYNTHETIC)

    @property
    def signed(self) -> int | None:
        """Files with a valid manifest that says synthetic; None where manifests weren't looked at."""
        return None if self.manifests_unread else sum(self.signers.values())

    def to_dict(self) -> dict[str, Any]:
        return {
            "files": self.files,
            "marked": self.marked,
            "signed": self.signed,
            "trusted": None if self.manifests_unread else self.trusted,
            "manifests_unread": self.manifests_unread,
            "marks": dict(self.marks),
            "signers": dict(self.signers),
            "unmarked": self.unmarked,
            "unsigned": self.unsigned,
            "invalid": self.invalid,
        }


def find_files(inputs: Sequence[Path]) -> list[Path]:
    """The files meant by files, datasets (every recorded frame, every clip's video) and other folders (all below)."""
    found = [path for item in inputs for path in _files(item)]
    if not found:
        raise Refused(f"{inputs[0]}: no image; expected PNG, JPEG, WebP or MP4 files, or a dataset")
    return found


def check(files: Iterable[Path], require_manifests: bool = False) -> ProvenanceReport:
    """Read every file back; Unavailable where manifests are required and c2pa-python is absent."""
    report, reader = ProvenanceReport(), None
    try:
        reader = ManifestReader.open()
    except Unavailable as error:
        if require_manifests:
            raise
        report.manifests_unread = str(error)
    for path in files:
        report.files += 1
        try:
            _add_mark(report, path, read_mark(path))
            if reader:
                _add_manifest(report, path, reader.read(path))
        except OSError as error:
            report.invalid[str(path)] = error.strerror or str(error).removeprefix(f"{path}: ")
    return report


def _add_mark(report: ProvenanceReport, path: Path, mark: str | None) -> None:
    if mark:
        report.marks[mark] += 1
    if mark not in SYNTHETIC:
        report.unmarked.append(str(path))


def _add_manifest(report: ProvenanceReport, path: Path, manifest: Manifest | None) -> None:
    if manifest is None:
        report.unsigned.append(str(path))
    elif not manifest.valid:
        report.invalid[str(path)] = ", ".join(manifest.problems) or "the manifest doesn't hold"
    elif manifest.source not in SYNTHETIC:
        report.invalid[str(path)] = f"the manifest states the source {manifest.source}"
    else:
        report.signers[manifest.signer or "unnamed"] += 1
        report.trusted += manifest.trusted


def _files(item: Path) -> Iterator[Path]:
    if (item / DESCRIPTION).is_file():
        dataset = read_dataset(item)
        yield from (dataset.frame_path(record) for record in dataset.records())
        yield from sorted((item / VIDEOS).glob("*.mp4"))
    elif item.is_dir():
        yield from sorted(path for path in item.rglob("*") if path.suffix.lower() in MEDIA_TYPES)
    elif item.exists():
        yield item
    else:
        raise Refused(f"{item}: no such file; expected images, videos or a dataset")
