"""Console commands: `dms-export` is `python -m export`, `dms-generate` is `python -m runtime.generate`, and so on.

A folder with an `export.py` of its own can't take their place, and where another distribution has brought a package
of the same name as one of this project's, they say so before anything runs.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

PACKAGES = ("contract", "pictures", "sources", "models", "training", "export", "runtime", "audit", "fleet")
"""Top-level packages of this distribution."""


def shadowed() -> str | None:
    """What is imported in place of one of our packages, None where each is our own."""
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None:
            return f"the package {name} isn't installed; run: pip install --force-reinstall dms-edge"
        places = [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or ""]]
        if places != [HERE / name]:
            return f"{name} is imported from {places[0]}, expected {HERE / name}; {ADVICE}"
    return None


ADVICE = "uninstall the package that brings it, or install dms-edge into an environment of its own"


def run(module: str) -> int:
    """Run `python -m MODULE` with this process's arguments; its exit status comes as SystemExit."""
    if problem := shadowed():
        print(f"{Path(sys.argv[0]).name}: {problem}", file=sys.stderr)
        return 1
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


def export() -> int:
    return run("export")


def export_trt() -> int:
    return run("export.trt")


def generate() -> int:
    return run("runtime.generate")


def verify() -> int:
    return run("runtime.verify")


def certificate() -> int:
    return run("runtime.certificate")


def fleet() -> int:
    return run("fleet.generate")


def contact_sheet() -> int:
    return run("pictures")


def train() -> int:
    return run("training.train")


def distill() -> int:
    return run("training.distill")


def render() -> int:
    return run("sources.render")


def fidelity() -> int:
    return run("audit.fidelity")


def provenance() -> int:
    return run("audit.provenance")


def data_card() -> int:
    return run("audit.data_card")


def report() -> int:
    return run("audit.report")
