"""The shipped student and its teacher, exported once for a whole run.

setting = prepare(Path("build/benchmarks"))
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from benchmarks.fixtures import STEPS, STUDENT, TEACHER, Setting
from contract.files import write_whole
from export.__main__ import main as export
from export.step_graph import export_graph
from models.checkpoint import read_checkpoint


def prepare(folder: Path) -> Setting:
    """Export everything into a folder."""
    bundle = folder / "bundle"
    _export(STUDENT, bundle, "--precision", "fp32", "int8")
    steps = {count: folder / f"teacher-{count}" for count in STEPS}
    for count, path in steps.items():
        _export(TEACHER, path, "--steps", str(count), "--guidance", "1", "--precision", "fp32")
    network = read_checkpoint(STUDENT).network()
    config = network.config
    inputs = {
        "x": torch.zeros(2, *config.image),
        "timesteps": torch.zeros(2, dtype=torch.int64),
        "condition": torch.zeros(2, config.condition_width),
    }
    plain = folder / "plain.onnx"
    write_whole(plain, export_graph(network, inputs, ["prediction"], {}))
    paths = {count: str(path) for count, path in steps.items()}
    setting = Setting(str(STUDENT), str(TEACHER), str(bundle), str(plain), paths)
    write_whole(folder / "setting.json", json.dumps(setting.to_dict()).encode())
    return setting


def _export(checkpoint: Path, bundle: Path, *options: str) -> None:
    status = export([str(checkpoint), "-o", str(bundle), *options])
    if status:
        raise RuntimeError(f"python -m export {checkpoint} ended with {status}")
