"""Console commands: `dms-export` is `python -m export`, `dms-generate` is `python -m runtime.generate`, and so on.

A folder with an `export.py` of its own can't take their place, and where another distribution has brought a package
of the same name as one of this project's, they say so before anything runs.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from functools import partial
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
    program = Path(sys.argv[0]).name
    if problem := shadowed():
        print(f"{program}: {problem}", file=sys.stderr)
        return 1
    from contract.errors import run_command  # ours, as has just been seen

    def start() -> int:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return 0

    return run_command(program, start)


export = partial(run, "export")
export_trt = partial(run, "export.trt")
generate = partial(run, "runtime.generate")
verify = partial(run, "runtime.verify")
certificate = partial(run, "runtime.certificate")
merge = partial(run, "runtime.merge")
fleet = partial(run, "fleet.generate")
contact_sheet = partial(run, "pictures")
train = partial(run, "training.train")
train_annotator = partial(run, "training.train_annotator")
distill = partial(run, "training.distill")
private_evolution = partial(run, "training.private_evolution")
inspect = partial(run, "sources.inspect")
convert = partial(run, "sources.convert")
render = partial(run, "sources.render")
render_sheet = partial(run, "sources.sheet")
fidelity = partial(run, "audit.fidelity")
provenance = partial(run, "audit.provenance")
lineage = partial(run, "audit.lineage")
data_card = partial(run, "audit.data_card")
report = partial(run, "audit.report")
utility = partial(run, "audit.utility")
privacy = partial(run, "audit.privacy")
privacy_shadows = partial(run, "audit.privacy.shadows")
insert_canaries = partial(run, "audit.privacy.insert_canaries")
