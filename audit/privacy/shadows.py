"""Train shadow models: networks like the audited one, each on a random half of all drivers.

    python -m audit.privacy.shadows teacher.pt --members build/train --non-members build/held-out -o build/shadows
    python -m audit.privacy teacher.pt --members build/train --non-members build/held-out --shadows build/shadows

The same command continues where it stopped. Members, non-members, limit and seed are those of the audit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from audit.privacy.audit import Shadows
from audit.privacy.calibration import FEWEST_SHADOWS, half_of_drivers
from audit.privacy.evidence import Evidence, read_evidence
from audit.privacy.model import TorchModel
from contract.cli import Parser, integer
from contract.errors import Refused, run_command
from contract.files import read_json, write_whole
from contract.noise import SEEDS

PROGRAM = "python -m audit.privacy.shadows"
ABOUT = "shadows.json"
EXAMPLE = f"example: {PROGRAM} teacher.pt --members build/train --non-members build/held-out --count 8"


def train_shadows(
    checkpoint: Path, evidence: Evidence, folder: Path, count: int, steps: int, seed: int = 0, device: str = "cpu"
) -> None:
    """Write `count` shadow checkpoints that the folder lacks; Refused for a folder of other shadows."""
    from audit.privacy.fit import fit, fresh
    from models.checkpoint import read_checkpoint, write_checkpoint

    like = read_checkpoint(checkpoint)
    about = {"checkpoint": like.sha256, "evidence": evidence.fingerprint, "steps": steps, "seed": seed}
    folder.mkdir(parents=True, exist_ok=True)
    described = folder / ABOUT
    if described.exists() and read_json(described) != about:
        raise Refused(f"{folder}: shadows of another checkpoint, data, seed or length; choose another folder with -o")
    write_whole(described, json.dumps(about, indent=1).encode() + b"\n")
    for number in tqdm(range(count), desc="shadows", unit="model", disable=None):
        path = folder / f"shadow-{number:03d}.pt"
        if not path.exists():
            rows = half_of_drivers(evidence.drivers, seed, number)
            start = fresh(like, seed + number)
            shadow = fit(start, evidence.frames[rows], evidence.conditions[rows], steps, seed + number, device)
            write_checkpoint(path, shadow)


def read_shadows(folder: Path, evidence: Evidence, steps: int | None = None, device: str = "cpu") -> Shadows:
    """The shadow models of a folder; Refused where they were trained on other frames than the evidence."""
    from models.checkpoint import read_checkpoint

    if not (folder / ABOUT).is_file():
        raise Refused(f"{folder}: no {ABOUT}; train shadows: {PROGRAM} CHECKPOINT.pt -o {folder}")
    about = read_json(folder / ABOUT)
    if about.get("evidence") != evidence.fingerprint:
        raise Refused(f"{folder}: trained on other frames; pass the same members, non-members, --limit and --seed")
    paths = sorted(folder.glob("shadow-*.pt"))
    if len(paths) < 2 * FEWEST_SHADOWS:
        raise Refused(f"{folder}: {len(paths)} shadow models; expected {2 * FEWEST_SHADOWS} or more: {PROGRAM} --count")
    numbers = [int(path.stem.rpartition("-")[2]) for path in paths]
    masks = np.stack([half_of_drivers(evidence.drivers, int(about["seed"]), number) for number in numbers])
    return Shadows([TorchModel(read_checkpoint(path), steps, device=device) for path in paths], masks)


def add_evidence_flags(add: Any) -> None:
    """The flags that say what the figures are about, the same for shadows and audit."""
    add("--members", type=Path, required=True, metavar="FOLDER", help="frames that were trained on")
    add("--non-members", type=Path, required=True, metavar="FOLDER", help="frames of other drivers, likewise made")
    add("--limit", type=integer(100, 10**7), default=4000, metavar="N", help="frames of each at most (4000)")
    add("--seed", type=integer(0, SEEDS - 1), default=0, metavar="S", help="of splits and noise (0)")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="where torch runs (cpu)")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = Parser(prog=PROGRAM, description="Train shadow models for calibrated attacks.", epilog=EXAMPLE)
    add = parser.add_argument
    add("checkpoint", type=Path, metavar="CHECKPOINT", help="whose network the shadows have")
    add_evidence_flags(add)
    add("--count", type=integer(2 * FEWEST_SHADOWS, 1000), default=8, metavar="K", help="shadow models (8)")
    add("--steps", type=integer(1, 10**7), default=5000, metavar="N", help="batches of each (5000)")
    add("-o", "--output", type=Path, default=Path("build/shadows"), metavar="FOLDER", help="(build/shadows)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    evidence = read_evidence(args.members, args.non_members, args.limit, args.seed)
    train_shadows(args.checkpoint, evidence, args.output, args.count, args.steps, args.seed, args.device)
    print(f"{args.output}: {args.count} shadow models")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return run_command("audit.privacy.shadows", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
