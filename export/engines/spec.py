"""What an engine is made from: whatever changes here makes another engine, and nothing else does.

    spec = EngineSpec("fp16", "step.fp16.onnx", sha256, "tensorrt_rtx", "1.7.1.116", ("sm86",), Profile(1, 8, 32))
    spec.name                   # step.fp16.tensorrt_rtx.sm86.b1-8-32.engine
    spec.made(entry)            # whether the manifest's entry is of the very same making

Plain data: no TensorRT is asked here.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from contract.bundle import FileEntry
from contract.errors import UsageError

MAX_BATCH = 4096
"""As many as the runtime takes."""

AMPERE_PLUS = "ampere+"
"""Target of an engine that runs on every GPU from compute capability 8.0 on."""

_TARGET = re.compile(r"sm\d{2,3}")


@dataclass(frozen=True)
class Profile:
    """The batch sizes that an engine takes, and the one it is tuned for; all equal: static shapes."""

    min: int
    opt: int
    max: int

    @property
    def static(self) -> bool:
        return self.min == self.max

    @staticmethod
    def parse(text: str) -> Profile:
        """An argument type: `8`, or `1,8,32`."""
        numbers = [int(part) for part in text.split(",") if re.fullmatch(r"[0-9]{1,5}", part)]
        sizes = numbers * 3 if len(numbers) == 1 and "," not in text else numbers
        if len(sizes) != 3 or text.count(",") not in (0, 2) or not 1 <= sizes[0] <= sizes[1] <= sizes[2] <= MAX_BATCH:
            raise argparse.ArgumentTypeError(f"{text[:40]}: expected N, or MIN,OPT,MAX rising from 1 to {MAX_BATCH}")
        return Profile(*sizes)

    def __str__(self) -> str:
        return str(self.opt) if self.static else f"{self.min},{self.opt},{self.max}"


@dataclass(frozen=True)
class Options:
    """How TensorRT is to build, beyond what the engine is for."""

    level: int | None = None
    """Builder optimization level, 0 (fast build) to 5 (fast engine); None is TensorRT's default."""

    workspace: int | None = None
    """Limit of scratch memory in MiB."""

    strip_weights: bool = False
    """Leave the weights out of the plan; the runtime refits them from the step graph."""

    version_compatible: bool = False
    """Run on newer TensorRT releases of the same major version, too; TensorRT only, not on DRIVE."""

    dla: int | None = None
    """Number of the DLA core to place layers on; what it can't take runs on the GPU, and is reported."""


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

    batch: Profile
    options: Options = Options()

    @property
    def name(self) -> str:
        """The file's name in the bundle."""
        batch = f"b{self.batch.min}-{self.batch.opt}-{self.batch.max}"
        return f"step.{self.precision}.{self.flavor}.{'+'.join(self.targets)}.{batch}.engine"

    def extra(self) -> dict[str, Any]:
        """What the manifest says of its making."""
        return {
            "flavor": self.flavor,
            "tensorrt": self.version,
            "target": list(self.targets),
            "batch": asdict(self.batch),
            "graph": self.graph,
            "graph_sha256": self.graph_sha256,
            "version_compatible": self.options.version_compatible,
            "stripped": self.options.strip_weights,
            "options": {"level": self.options.level, "workspace": self.options.workspace, "dla": self.options.dla},
        }

    def made(self, entry: FileEntry | None) -> bool:
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


def check_targets(targets: list[str]) -> tuple[str, ...]:
    """Targets in rising order, each once; UsageError for what isn't the name of a compute capability."""
    for target in targets:
        if not _TARGET.fullmatch(target):
            raise UsageError(f"--target {target[:40]}: expected compute capabilities such as sm86")
    return tuple(sorted(set(targets), key=lambda target: int(target[2:])))
