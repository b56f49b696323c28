"""Which of a bundle's TensorRT engines runs on this machine, and how a batch is cut to fit its profile.

    engine = choose_engine(read_engines(manifest, names), Machine("sm87", {"tensorrt": "10.3.0"}), batch=8, mend=...)

Plain data in, plain data out: no TensorRT and no GPU is asked here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contract.bundle import FileEntry, Manifest
from contract.errors import Refused, Unavailable

FLAVORS = ("tensorrt", "tensorrt_rtx")
"""Python packages that run engines; an engine of one can't be run by the other."""

AMPERE_PLUS = "ampere+"
"""Target of an engine that runs on every GPU from compute capability 8.0 on."""

MAX_BATCH = 65536
_RELEASE = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(\.\d{1,9})*")
_TARGET = re.compile(r"sm(\d{1,3})\d")


@dataclass(frozen=True)
class Profile:
    """The batch sizes that an engine takes, and the one it is fastest at."""

    min: int
    opt: int
    max: int

    def __str__(self) -> str:
        return str(self.opt) if self.min == self.max else f"{self.min},{self.opt},{self.max}"

    def pieces(self, rows: int) -> list[slice]:
        """A batch of `rows` in as few pieces as the largest size allows, in order."""
        return [slice(first, min(first + self.max, rows)) for first in range(0, rows, self.max)]

    def padded(self, rows: int) -> int:
        """Rows that a piece is run with: the smallest size, where it has fewer."""
        return max(rows, self.min)


@dataclass(frozen=True)
class Engine:
    """What the manifest says of an engine."""

    file: str
    precision: str
    flavor: str
    version: str
    """Of the TensorRT that built it."""

    targets: tuple[str, ...]
    """GPUs that it was built for: `sm87` ..., or `ampere+`."""

    batch: Profile
    version_compatible: bool = False
    """Whether a newer TensorRT of the same major version runs it too."""

    weights: str | None = None
    """The step graph that its weights are taken from, where the plan was stripped of them."""


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
    """The entries of those files, checked; Refused where one is odd."""
    return [_read(name, manifest.files[name]) for name in names]


def misfit(engine: Engine, machine: Machine) -> str | None:
    """Why the engine can't run on this machine, None where it can."""
    version = machine.versions.get(engine.flavor)
    if version is None:
        return f"made for {engine.flavor}, which isn't installed here"
    if not _same_release(engine, version):
        return f"built with {engine.flavor} {engine.version}, found {version} here"
    if not any(_runs_on(target, machine.sm) for target in engine.targets):
        return f"built for {'+'.join(engine.targets)}, found {machine.sm} here"
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
        raise Unavailable(f"{engine.file}: {reason}; build it for this machine: {rebuild(engine, machine, bundle)}")
    fitting = [engine for engine in fitting if engine.precision == fitting[0].precision]
    return fitting[0] if batch is None else min(fitting, key=lambda engine: _distance(engine.batch, batch))


def rebuild(engine: Engine, machine: Machine, bundle: object) -> str:
    """The command that builds this engine again, for this machine."""
    flavor = engine.flavor if engine.flavor in machine.versions else next(iter(machine.versions), engine.flavor)
    command = f"python -m export.trt {bundle} --flavor {flavor} --precision {engine.precision}"
    return f"{command} --target {machine.sm} --batch {engine.batch}"


def _distance(profile: Profile, batch: int) -> tuple[bool, int, int]:
    outside = not profile.min <= batch <= profile.max
    return outside, abs(profile.opt - batch), profile.max - profile.min


def _same_release(engine: Engine, version: str) -> bool:
    """Plans match major.minor.patch (and the build number where both name one); see the TensorRT developer guide."""
    built, found = _numbers(engine.version), _numbers(version)
    if engine.version_compatible and len(found) > 0:
        return built[0] == found[0] and built <= found
    common = min(len(built), len(found))
    return common >= 3 and built[:common] == found[:common]


def _runs_on(target: str, sm: str) -> bool:
    return target == sm or (target == AMPERE_PLUS and int(sm[2:]) >= 80)


def _numbers(version: str) -> tuple[int, ...]:
    found = _RELEASE.match(version)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def _read(name: str, entry: FileEntry) -> Engine:
    extra = entry.extra
    flavor, version, targets = extra.get("flavor"), extra.get("tensorrt"), _targets(extra.get("target"))
    profile = _profile(extra.get("batch"))
    good = flavor in FLAVORS and isinstance(version, str) and bool(_RELEASE.match(version)) and entry.precision
    if not good or targets is None or profile is None:
        found = {key: extra.get(key) for key in ("flavor", "tensorrt", "target", "batch")}
        expected = f"flavor {' or '.join(FLAVORS)}, a version, targets like sm87, batch min <= opt <= max"
        raise Refused(f"{name}: {str(found)[:300]} in the manifest, expected {expected}; build the engine again")
    compatible, weights = extra.get("version_compatible") is True, extra.get("graph")
    if extra.get("stripped") is True and not isinstance(weights, str):
        raise Refused(f"{name}: stripped of its weights, and the manifest names no graph to take them from")
    weights = weights if extra.get("stripped") is True else None
    return Engine(name, str(entry.precision), str(flavor), str(version), targets, profile, compatible, weights)


def _targets(found: Any) -> tuple[str, ...] | None:
    if not isinstance(found, list) or not found:
        return None
    good = all(isinstance(target, str) and (target == AMPERE_PLUS or _TARGET.fullmatch(target)) for target in found)
    return tuple(found) if good else None


def _profile(found: Any) -> Profile | None:
    if not isinstance(found, dict) or set(found) != {"min", "opt", "max"}:
        return None
    if not all(type(size) is int for size in found.values()):
        return None
    profile = Profile(**found)
    return profile if 1 <= profile.min <= profile.opt <= profile.max <= MAX_BATCH else None
