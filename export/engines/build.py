"""Engines for a bundle under construction: kept where nothing about them changed, built and measured where it did.

options = BuildOptions(flavor, ("sm86", "sm89"), BatchProfile(1, 8, 32))
added = add_engine(draft, "fp16", options, Path("bundle"), manifest_before)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from contract.bundle import ANNOTATORS, FileEntry, Manifest
from contract.engine import BatchProfile
from contract.errors import Unavailable
from contract.files import sha256_of
from export.bundle import Draft, link
from export.engines.flavors import Flavor
from export.engines.spec import BuilderSettings, EngineSpec, chosen_elsewhere, expected_seconds
from export.engines.worker import build_engine
from export.precisions import NAMES

ANNOTATOR = ANNOTATORS["fp32"]
"""The graph that an annotator's engine is built from."""


@dataclass(frozen=True)
class BuildOptions:
    """What all engines of one command have in common."""

    flavor: Flavor
    targets: tuple[str, ...]
    batch: BatchProfile
    strip_weights: bool = False
    settings: BuilderSettings = field(default_factory=BuilderSettings)

    timing_cache: Path | None = None
    """What TensorRT measured in earlier builds; read and written."""


@dataclass(frozen=True)
class BuiltEngine:
    """One engine of the bundle, as this run left it."""

    name: str

    kept: bool
    """Whether it was there already."""


def add_engine(
    draft: Draft, precision: str, options: BuildOptions, place: Path, before: Manifest | None
) -> BuiltEngine:
    """Keep the engine in the folder `place` if it is the very same, else build one; measured and added."""
    return _add(draft, NAMES[precision][-1], precision, options, place, before)


def check_annotator(draft: Draft) -> None:
    """Unavailable where the bundle has no annotator to build an engine of."""
    if ANNOTATOR not in draft.manifest.files:
        raise Unavailable(f"--annotator: the bundle has no {ANNOTATOR}; leave the flag out, or export one")


def add_annotator_engine(draft: Draft, options: BuildOptions, place: Path, before: Manifest | None) -> BuiltEngine:
    """The same for the annotator; Unavailable where the bundle has none. The runtime compares it at its first batch."""
    check_annotator(draft)
    return _add(draft, ANNOTATOR, "fp32", options, place, before)


def _add(
    draft: Draft, graph: str, precision: str, options: BuildOptions, place: Path, before: Manifest | None
) -> BuiltEngine:
    sha256, flavor = draft.manifest.files[graph].sha256, options.flavor
    made_for = (flavor.name, flavor.version, options.targets, options.batch)
    spec = EngineSpec(precision, graph, sha256, *made_for, options.strip_weights, options.settings)
    kept = before is not None and _keep(draft, spec, place, before)
    if not kept:
        _build(draft, spec, options.timing_cache, before or draft.manifest)
    return BuiltEngine(spec.name, kept)


def _keep(draft: Draft, spec: EngineSpec, place: Path, before: Manifest) -> bool:
    """Take an engine over that was made in the same way from the same graph, and is undamaged."""
    entry, path, target = before.files.get(spec.name), place / spec.name, draft.folder / spec.name
    if entry is None or not spec.describes(entry) or not path.is_file() or sha256_of(path) != entry.sha256:
        return False
    if chosen_elsewhere(spec.flavor, entry):
        return False
    if not target.exists():
        link(path, target)
    draft.add(spec.name, entry, dict(before.parity.get(spec.name, {})))
    return True


def _build(draft: Draft, spec: EngineSpec, timing_cache: Path | None, before: Manifest) -> None:
    graph, image, width = draft.folder / spec.graph, draft.manifest.image, draft.manifest.schema.width
    path = draft.folder / spec.name
    higher = draft.manifest.files[spec.graph].extra.get("float_convolutions", [])
    expected = expected_seconds(spec, before.files)
    notes = build_engine(spec, graph, path, image, width, higher, timing_cache, expected)
    draft.add(spec.name, FileEntry(sha256_of(path), spec.precision, {**spec.extra(), **notes}))
    if spec.role == "step":
        draft.measure(spec.name)
