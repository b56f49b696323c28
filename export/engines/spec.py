"""What an engine is made from: whatever changes here makes another engine, and nothing else does.

    spec = EngineSpec("fp16", "step.fp16.onnx", sha256, "tensorrt_rtx", "1.7.1.116", ("sm86",), BatchProfile(1, 8, 32))
    spec.name                   # step.fp16.tensorrt_rtx.sm86.b1-8-32.engine
    spec.describes(entry)       # whether the manifest's entry is of an engine made in the same way

TensorRT itself isn't imported here.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from contract.bundle import FileEntry
from contract.engine import MAX_BATCH, TARGET, BatchProfile, Engine
from contract.errors import Unavailable, UsageError
from contract.gpu import first_gpu


@dataclass(frozen=True)
class BuilderSettings:
    """How TensorRT is to build, beyond what the engine is for."""

    level: int | None = None
    """Builder optimization level, 0 (fast build) to 5 (fast engine); None is TensorRT's default."""

    workspace: int | None = None
    """Limit of scratch memory in MiB."""


@dataclass(frozen=True)
class EngineSpec:
    """One engine: from which graph, with what, for what, and how."""

    precision: str
    graph: str
    """File of the bundle that it is built from."""

    graph_sha256: str
    flavor: str
    version: str
    """Of TensorRT."""

    targets: tuple[str, ...]
    """`sm86` ..., or `ampere+` alone."""

    batch: BatchProfile

    strip_weights: bool = False
    """Leave the weights out of the plan; the runtime refits them from the step graph."""

    settings: BuilderSettings = field(default_factory=BuilderSettings)

    @property
    def role(self) -> str:
        """What it does: `step` or `annotator`."""
        return self.graph.partition(".")[0]

    @property
    def name(self) -> str:
        """The file's name in the bundle."""
        batch = f"b{self.batch.min}-{self.batch.opt}-{self.batch.max}"
        return f"{self.role}.{self.precision}.{self.flavor}.{'+'.join(self.targets)}.{batch}.engine"

    def extra(self) -> dict[str, Any]:
        """What the manifest says of its making."""
        made_from = (self.graph, self.graph_sha256, self.strip_weights)
        made_for = (self.precision, self.flavor, self.version, self.targets, self.batch)
        engine = Engine(self.name, *made_for, *made_from)  # type: ignore[arg-type]
        return {**engine.extra(), "options": asdict(self.settings)}

    def describes(self, entry: FileEntry | None) -> bool:
        """Whether a manifest's entry is of an engine that was made in the same way from the same graph."""
        if entry is None or entry.precision != self.precision:
            return False
        return all(entry.extra.get(key) == value for key, value in self.extra().items())


def expected_seconds(spec: EngineSpec, entries: Mapping[str, FileEntry]) -> float | None:
    """How long the most similar engine of the bundle took to build, None where there is none."""
    similar = [
        entry.extra["seconds"]
        for entry in entries.values()
        if entry.extra.get("flavor") == spec.flavor
        and entry.precision == spec.precision
        and type(entry.extra.get("seconds")) in (int, float)
    ]
    return float(similar[-1]) if similar else None


def parse_batch(text: str) -> BatchProfile:
    """An argument type: `8`, or `1,8,32`."""
    sizes = [int(part) for part in text.split(",") if re.fullmatch(r"[0-9]{1,5}", part)]
    sizes = sizes * 3 if len(sizes) == 1 and "," not in text else sizes
    try:
        if text.count(",") not in (0, 2):
            raise TypeError(text)
        return BatchProfile(*sizes)
    except (TypeError, ValueError):
        expected = f"expected N, or MIN,OPT,MAX rising from 1 to {MAX_BATCH}"
        raise argparse.ArgumentTypeError(f"{text[:40]}: {expected}") from None


def check_targets(targets: list[str]) -> tuple[str, ...]:
    """Targets in rising order, each once; UsageError for what isn't the name of a compute capability."""
    for target in targets:
        if not re.match(TARGET, target):
            raise UsageError(f"--target {target[:40]}: expected compute capabilities such as sm86")
    return tuple(sorted(set(targets), key=lambda target: int(target[2:])))


def built_on() -> dict[str, Any]:
    """The GPU here, whose timings the engine's kernels were chosen by."""
    try:
        device = first_gpu()
    except Unavailable:
        return {}
    return {"built_on": {"device": device.name, "multiprocessors": device.multiprocessors}}


def chosen_elsewhere(flavor: str, entry: FileEntry) -> bool:
    """Whether an engine's kernels were chosen on another GPU than the one here, so that it is worth a build."""
    here, there = built_on().get("built_on"), entry.extra.get("built_on")
    return flavor == "tensorrt" and here is not None and there is not None and here != there
