"""What differs between `tensorrt` and TensorRT for RTX, which builds on machines without a GPU.

flavor = find_flavor("auto")                       # Unavailable says how to get one on this kind of machine
targets = flavor.targets(["sm86", "sm89"])
"""

from __future__ import annotations

import contextlib
import importlib.util
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from contract.engine import AMPERE_PLUS, FLAVORS
from contract.errors import Unavailable, UsageError
from contract.gpu import gpu_target, tensorrt_package
from export.engines.spec import check_targets

AUTO = "auto"

L4T = Path("/etc/nv_tegra_release")
"""Present on every Jetson."""

RTX_SUPPORTED = ("sm80", "sm86", "sm89", "sm120", "sm121")
"""What TensorRT for RTX 1.7 builds these graphs for. Turing (sm75) refuses the embedding path's products in fp32;
Jetson Orin (sm87) and H100 (sm90) aren't on its list."""

RTX_TARGETS = ("sm86", "sm89", "sm120")
"""RTX 30, 40 and 50: what is built for where neither `--target` nor a GPU says."""


@dataclass(frozen=True)
class Flavor:
    """One of the two packages, as it is installed here."""

    name: str
    version: str

    @property
    def rtx(self) -> bool:
        return self.name == "tensorrt_rtx"

    @property
    def times_tactics(self) -> bool:
        """Whether a timing cache saves time: TensorRT for RTX measures nothing while it builds."""
        return not self.rtx

    def targets(self, requested: Sequence[str], ampere_plus: bool = False) -> tuple[str, ...]:
        """What to build for; UsageError where this flavor can't build for it here."""
        here, wanted = gpu_target(), check_targets(list(requested))
        if self.rtx:
            if ampere_plus:
                raise UsageError("--ampere-plus is of --flavor tensorrt; give TensorRT for RTX a list with --target")
            if unknown := sorted(set(wanted) - set(RTX_SUPPORTED)):
                raise UsageError(f"--target {unknown[0]}: TensorRT for RTX builds for {', '.join(RTX_SUPPORTED)}")
            return wanted or ((here,) if here in RTX_SUPPORTED else RTX_TARGETS)
        if here is None:
            raise Unavailable(f"tensorrt {self.version} builds on a GPU, and no NVIDIA driver or GPU is here")
        if ampere_plus:
            if L4T.exists():
                raise UsageError("--ampere-plus doesn't exist on a Jetson; build on each kind of GPU that is to run it")
            return (AMPERE_PLUS,)
        if wanted not in ((), (here,)):
            raise UsageError(f"--target {' '.join(wanted)}: tensorrt builds for the GPU that is here, {here}")
        return (here,)


def find_flavor(requested: str) -> Flavor:
    """The named flavor, or with `auto` the first that can build here; Unavailable with how to get one."""
    reasons = []
    for name in FLAVORS if requested == AUTO else (requested,):
        version = _version(name)
        if version is None:
            reasons.append(f"{name} isn't installed")
        elif requested == AUTO and name == "tensorrt" and gpu_target() is None:
            reasons.append(f"tensorrt {version} is installed, but builds on a GPU, and none is here")
        else:
            return Flavor(name, version)
    raise Unavailable(f"{' and '.join(reasons)}; {how_to_get_it()}")


def how_to_get_it() -> str:
    """How TensorRT is got on this kind of machine."""
    arm = platform.machine().lower() in ("aarch64", "arm64")
    if L4T.exists():
        return (
            "on a Jetson TensorRT comes with JetPack: sudo apt-get install python3-libnvinfer-dev, and make the virtual"
            " environment with --system-site-packages"
        )
    if arm:
        return (
            "on DRIVE OS TensorRT comes with the SDK's target packages (use the system's Python), on other 64-bit ARM"
            f" machines with a GPU run: pip install {tensorrt_package()}"
        )
    if gpu_target():
        rtx = "for GeForce RTX and RTX PRO cards: pip install tensorrt-rtx"
        return f"run: pip install {tensorrt_package()} (or, {rtx})"
    return (
        "without a GPU engines are built ahead of time with TensorRT for RTX: pip install tensorrt-rtx;"
        " for other GPUs copy the bundle to the target and build there"
    )


def _version(name: str) -> str | None:
    """Version of an installed package, without importing it: that alone can take seconds, or crash."""
    try:
        if importlib.util.find_spec(name) is None:
            return None
    except ImportError:
        return None
    for distribution in (name, f"{name}_cu13", f"{name}_cu12"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return str(importlib.import_module(name).__version__)
