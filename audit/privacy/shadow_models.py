"""Shadow models: networks like the audited one, each trained on a random half of all drivers, in a folder.

train_shadows(Path("teacher.pt"), evidence, Path("build/shadows"), count=8, steps=5000)
shadows = read_shadows(Path("build/shadows"), evidence, model)
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from audit.privacy.audit import Shadows
from audit.privacy.calibration import FEWEST_SHADOWS, half_of_drivers
from audit.privacy.evidence import Evidence
from audit.privacy.model import Model, TorchModel
from contract.errors import Refused
from contract.files import read_json, write_whole
from contract.noise import SEEDS
from contract.progress import progress_bar

PROGRAM = "python -m audit.privacy.shadows"
ABOUT = "shadows.json"


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
    for number in progress_bar(range(count), desc="shadows", unit="model"):
        path = folder / f"shadow-{number:03d}.pt"
        if not path.exists():
            rows = half_of_drivers(evidence.drivers, seed, number)
            own = (seed + number) % SEEDS
            shadow = fit(fresh(like, own), evidence.frames[rows], evidence.conditions[rows], steps, own, device)
            write_checkpoint(path, shadow)


def read_shadows(folder: Path, evidence: Evidence, model: Model, device: str = "cpu") -> Shadows:
    """The shadow models of a folder, asked at the timesteps and guidance of the model that is audited.

    Raises Refused where they are another checkpoint's, or were trained on other frames than the evidence.
    """
    from models.checkpoint import read_checkpoint

    if not (folder / ABOUT).is_file():
        raise Refused(f"{folder}: no {ABOUT}; train shadows: {PROGRAM} CHECKPOINT.pt -o {folder}")
    about = read_json(folder / ABOUT)
    if about.get("evidence") != evidence.fingerprint:
        raise Refused(f"{folder}: trained on other frames; pass the same members, non-members, --limit and --seed")
    if about.get("checkpoint") != model.checkpoint:
        raise Refused(f"{folder}: shadows of another checkpoint than the audited one; train its own: {PROGRAM}")
    paths = sorted(folder.glob("shadow-*.pt"))
    if len(paths) < 2 * FEWEST_SHADOWS:
        raise Refused(f"{folder}: {len(paths)} shadow models; expected {2 * FEWEST_SHADOWS} or more: {PROGRAM} --count")
    numbers = [int(path.stem.rpartition("-")[2]) for path in paths]
    masks = np.stack([half_of_drivers(evidence.drivers, int(about["seed"]), number) for number in numbers])
    timesteps, guidance = model.timesteps, model.guidance
    return Shadows([TorchModel(read_checkpoint(path), None, device, timesteps, guidance) for path in paths], masks)
