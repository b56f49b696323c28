"""TensorRT engines as the manifest describes them, and which of them runs on this machine.

    engine = choose_engine(read_engines(manifest, names), Machine("sm87", {"tensorrt": "10.3.0"}), 8, "bundle")

The exporter writes these entries, the runtime reads them. TensorRT itself isn't imported here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from contract.bundle import FileEntry, Manifest
from contract.errors import Refused, Unavailable

FLAVORS = ("tensorrt", "tensorrt_rtx")
"""Python packages that build and run engines; an engine of one can't be run by the other."""

AMPERE_PLUS = "ampere+"
"""Target of an engine that runs on every GPU from compute capability 8.0 on."""

MAX_BATCH = 4096
"""Frames a call: beyond it no GPU gets faster."""

MAX_MESSAGE, MAX_WARNINGS = 600, 16
"""What is kept of TensorRT's messages: characters of each, and how many warnings."""

TARGET = r"^sm\d{2,3}$"
"""A compute capability: 8.7 is `sm87`."""

_RELEASE = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(\.\d{1,9})*")

Size = Annotated[int, Meta(ge=1, le=MAX_BATCH)]
Target = Annotated[str, Meta(pattern=rf"{TARGET}|^{re.escape(AMPERE_PLUS)}$")]


class BatchProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The batch sizes that an engine takes, and the one that it is tuned for; where all are equal, its shapes are
    static."""

    min: Size
    opt: Size
    max: Size

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max <= MAX_BATCH:
            raise ValueError(f"batch {self}, expected min <= opt <= max from 1 to {MAX_BATCH}")

    @property
    def static(self) -> bool:
        return self.min == self.max

    @property
    def sizes(self) -> tuple[int, ...]:
        """min, opt and max, each once, in rising order."""
        return tuple(sorted({self.min, self.opt, self.max}))

    def pieces(self, rows: int) -> list[slice]:
        """A batch of `rows` in as few pieces as the largest size allows, in order."""
        return [slice(first, min(first + self.max, rows)) for first in range(0, rows, self.max)]

    def padded(self, rows: int) -> int:
        """Rows that a piece is run with: the smallest size, where it has fewer."""
        return max(rows, self.min)

    def __str__(self) -> str:
        return str(self.opt) if self.static else f"{self.min},{self.opt},{self.max}"


class BuiltOn(msgspec.Struct, frozen=True):
    """The GPU that an engine was built on. Another one of the same compute capability runs it, but not as fast."""

    device: Annotated[str, Meta(max_length=256)]
    multiprocessors: Annotated[int, Meta(ge=1, le=4096)]

    def __str__(self) -> str:
        return f"{self.device} with {self.multiprocessors} multiprocessors"


class Engine(msgspec.Struct, frozen=True):
    """One engine of a bundle; all but the first two fields stand in the manifest's entry under these names."""

    file: str
    precision: str
    flavor: Literal["tensorrt", "tensorrt_rtx"]

    tensorrt: Annotated[str, Meta(pattern=rf"^{_RELEASE.pattern}", max_length=64)]
    """Version of the TensorRT that built it."""

    target: Annotated[tuple[Target, ...], Meta(min_length=1)]
    """GPUs that it was built for: `sm87` ..., or `ampere+`."""

    batch: BatchProfile

    graph: str | None = None
    """Step graph of the bundle that it was built from."""

    graph_sha256: str | None = None

    stripped: bool = False
    """Whether its weights were left out, to be taken from `graph` when it is opened."""

    def __post_init__(self) -> None:
        if self.stripped and self.graph is None:
            raise ValueError("stripped of its weights, but names no graph to take them from")

    built_on: BuiltOn | None = None
    """None where it was built without a GPU."""

    def extra(self) -> dict[str, Any]:
        """The manifest's entry, beside sha256, precision and what is only known once it is built."""
        entry: dict[str, Any] = msgspec.to_builtins(self)
        del entry["file"], entry["precision"], entry["built_on"]
        return entry | {"target": list(self.target)}


@dataclass(frozen=True)
class Machine:
    """What an engine is to run on."""

    sm: str
    """The GPU's compute capability, `sm87`."""

    versions: Mapping[str, str]
    """Version of each flavor that is installed."""


def engine_files(manifest: Manifest, precision: str) -> list[str]:
    """Names of the bundle's engines of one precision."""
    entries = {name: entry for name, entry in manifest.files.items() if name.endswith(".engine")}
    return [name for name, entry in entries.items() if name.startswith("step.") and entry.precision == precision]


def read_engines(manifest: Manifest, names: Sequence[str]) -> list[Engine]:
    """The entries of those files, checked; Refused where one isn't an engine's."""
    return [_read(name, manifest.files[name]) for name in names]


def annotator_engine(manifest: Manifest, precision: str, step: Engine, machine: Machine) -> Engine | None:
    """The bundle's engine of the annotator for the machine and batch sizes of the step graph's, if there is one."""
    entries = {name: entry for name, entry in manifest.files.items() if name.endswith(".engine")}
    names = [n for n, entry in entries.items() if n.startswith("annotator.") and entry.precision == precision]
    wanted = (step.flavor, step.batch)
    engines = [engine for engine in read_engines(manifest, names) if (engine.flavor, engine.batch) == wanted]
    return next((engine for engine in engines if misfit(engine, machine) is None), None)


def misfit(engine: Engine, machine: Machine) -> str | None:
    """Why the engine can't run on this machine, None where it can."""
    version = machine.versions.get(engine.flavor)
    if version is None:
        return f"made for {engine.flavor}, which isn't installed here"
    if not _same_release(engine.tensorrt, version):
        return f"built with {engine.flavor} {engine.tensorrt}, found {version} here"
    if not any(_runs_on(target, machine.sm) for target in engine.target):
        return f"built for {'+'.join(engine.target)}, found {machine.sm} here"
    return None


def choose_engine(engines: Sequence[Engine], machine: Machine, batch: int | None, bundle: object) -> Engine:
    """The engine that fits, of the first precision listed, whose profile suits the batch best.

    Without a batch the first in the manifest; a profile made for exactly this batch is preferred to a wider one.
    Unavailable says why none fits, and the command that builds one here.
    """
    reasons = {engine: misfit(engine, machine) for engine in engines}
    fitting = [engine for engine, reason in reasons.items() if reason is None]
    if not fitting:
        engine, reason = next(iter(reasons.items()))
        command = rebuild_command(engine, machine, bundle)
        raise Unavailable(f"{engine.file}: {reason}; build it for this machine: {command}")
    fitting = [engine for engine in fitting if engine.precision == fitting[0].precision]
    return fitting[0] if batch is None else min(fitting, key=lambda engine: _distance(engine.batch, batch))


def rebuild_command(engine: Engine, machine: Machine, bundle: object) -> str:
    """The command that builds this engine again, for this machine."""
    flavor = engine.flavor if engine.flavor in machine.versions else next(iter(machine.versions), engine.flavor)
    command = f"python -m export.trt {bundle} --flavor {flavor} --precision {engine.precision}"
    return f"{command} --target {machine.sm} --batch {engine.batch}"


def kept_log(trt: Any) -> Any:
    """A logger for a TensorRT module that prints nothing.

    `last` is its last error, in one line; `warnings` its first different warnings, each in one line.
    """

    class KeptLog(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = ""
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.last = " ".join(message.split())[:MAX_MESSAGE]
            elif severity == trt.ILogger.Severity.WARNING and len(self.warnings) < MAX_WARNINGS:
                warning = " ".join(message.split())[:MAX_MESSAGE]
                self.warnings += [warning] if warning not in self.warnings else []

    return KeptLog()


def _distance(profile: BatchProfile, batch: int) -> tuple[bool, int, int]:
    outside = not profile.min <= batch <= profile.max
    return outside, abs(profile.opt - batch), profile.max - profile.min


def _same_release(built: str, found: str) -> bool:
    """Plans match major.minor.patch (and the build number where both name one); see the TensorRT developer guide."""
    first, second = _numbers(built), _numbers(found)
    common = min(len(first), len(second))
    return common >= 3 and first[:common] == second[:common]


def _runs_on(target: str, sm: str) -> bool:
    return target == sm or (target == AMPERE_PLUS and int(sm[2:]) >= 80)


def _numbers(version: str) -> tuple[int, ...]:
    release = _RELEASE.match(version)
    return tuple(int(number) for number in release[0].split(".")) if release else ()


def _read(name: str, entry: FileEntry) -> Engine:
    try:
        return msgspec.convert({**entry.extra, "file": name, "precision": entry.precision}, Engine)
    except msgspec.ValidationError as error:
        raise Refused(
            f"{name}: {str(error)[:300]} in the manifest; build the engine again: python -m export.trt"
        ) from error
