"""Train the edge network on labelled frames.

    python -m sources.render build/cabin64 -n 40960
    python -m training.train build/cabin64 -o build/run --samples 1000000

The run's folder holds `checkpoint.pt` (EMA weights, ready to export), `log.jsonl`, sample grids, and `state.pt`
with which the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from contract.cli import Parser
from contract.errors import Refused, Unavailable, UsageError, run_command
from contract.files import write_whole
from contract.schedule import trailing
from models.annotator_file import read_annotator
from models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from models.diffusion import ddim
from models.edge import ACTIVATIONS, NORMALISATIONS
from sources.imagefolder import read_source
from training.loop import learn
from training.perceptual_loss import critic_weights
from training.trainer import Settings, Trainer

STATE = "state.pt"
"""What a run goes on from."""

ABOUT = "run.json"
"""The command, the network's size and the machine; written first, so that it marks a folder as a run's."""

GRID = (4, 8)
"""Rows and columns of a sample grid."""


def sample_grid(checkpoint: Checkpoint, path: Path, seed: int = 0) -> None:
    """Draw GRID conditions of the schema's prior with the checkpoint's default sampler into one PNG."""
    rows, columns = GRID
    schema, config = checkpoint.schema, checkpoint.config
    streams = [np.random.Generator(np.random.Philox(key=[seed, i])) for i in range(rows * columns)]
    condition = schema.encode([schema.complete({}, stream) for stream in streams])
    shape = tuple(config.image)
    noise = np.stack([stream.standard_normal(shape, dtype=np.float32) for stream in streams])
    timesteps = trailing(checkpoint.diffusion.timesteps, checkpoint.sampler.steps)
    guidance = checkpoint.sampler.guidance
    _, frames = ddim(
        checkpoint.network(),
        checkpoint.diffusion,
        torch.from_numpy(noise),
        torch.from_numpy(condition),
        timesteps,
        guidance,
    )
    tiles = frames.numpy().reshape(rows, columns, *frames.shape[1:])
    sheet = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * frames.shape[1], columns * frames.shape[2], -1)
    buffer = io.BytesIO()
    Image.fromarray(sheet.squeeze()).save(buffer, format="PNG")
    write_whole(path, buffer.getvalue())


def _save(trainer: Trainer, folder: Path) -> None:
    checkpoint = trainer.checkpoint()
    write_checkpoint(folder / "checkpoint.pt", checkpoint)  # refuses what isn't finite, so that no such state is kept
    trainer.save(folder / STATE)
    sample_grid(checkpoint, folder / f"samples-{trainer.seen:09d}.png")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    default = Settings()
    parser = Parser(
        prog="python -m training.train",
        description="Train the edge network on a cache of rendered frames or a folder of labelled images.",
        epilog="example: python -m training.train build/cabin64 -o build/run --samples 1000000",
    )
    parser.add_argument("data", type=Path, help="a cache of the cabin, or an imagefolder with metadata.jsonl")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/run"), help="folder of the run (build/run)")
    parser.add_argument("--samples", type=int, default=default.samples, help="images seen in all (1000000)")
    parser.add_argument("--batch", type=int, default=default.batch)
    parser.add_argument("--lr", type=float, default=default.lr, help="peak learning rate (0.001)")
    parser.add_argument("--warmup", type=int, default=default.warmup, help="images of rising learning rate (20000)")
    parser.add_argument(
        "--cooldown", type=float, default=default.cooldown, help="last share of the run, in which it falls (0.3)"
    )
    parser.add_argument("--widths", type=int, nargs="+", default=list(default.widths), help="channels, finest first")
    parser.add_argument("--patch", type=int, default=default.patch, help="edge of the stem's patches (4)")
    parser.add_argument("--blocks", type=int, default=default.blocks, help="residual blocks of each resolution (2)")
    parser.add_argument("--normalisation", choices=NORMALISATIONS, default=default.normalisation, help="(group)")
    parser.add_argument("--activation", choices=tuple(ACTIVATIONS), default=default.activation, help="(relu)")
    parser.add_argument("--face-weight", type=float, default=default.face_weight, help="extra loss at landmarks (4)")
    parser.add_argument("--eye-weight", type=float, default=default.eye_weight, help="the same at the eyes (4)")
    parser.add_argument("--critic", type=Path, metavar="ANNOTATOR", help="annotator.pt that judges what is predicted")
    parser.add_argument("--label-weight", type=float, help="weight of the labels it reads (0.001)")
    parser.add_argument("--detail-weight", type=float, help="weight of its features (0.1)")
    parser.add_argument("--init-from", type=Path, metavar="CKPT", help="begin with this checkpoint's EMA weights")
    parser.add_argument("--schema", default="cabin", help="schema of an imagefolder that doesn't name its own (cabin)")
    parser.add_argument("--save-every", type=int, default=50_000, help="images between two saves (50000)")
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(argv)
    args.command = shlex.join(["python", "-m", "training.train", *(sys.argv[1:] if argv is None else argv)])
    return args


def _device(name: str) -> str:
    """The device, or Unavailable where this machine or this torch has none of that name."""
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise Unavailable(f"--device {name}: {str(error).splitlines()[0]}; expected cpu, or cuda with a GPU") from error
    return name


def _settings(args: argparse.Namespace, critic: str | None) -> Settings:
    label, detail = critic_weights(args.label_weight, args.detail_weight, critic)
    checks = {
        "--samples": (args.samples, 1, 10**10),
        "--batch": (args.batch, 1, 65_536),
        "--lr": (args.lr, 1e-8, 1.0),
        "--warmup": (args.warmup, 0, 10**9),
        "--cooldown": (args.cooldown, 0.0, 1.0),
        "--face-weight": (args.face_weight, 0.0, 1000.0),
        "--eye-weight": (args.eye_weight, 0.0, 1000.0),
        "--label-weight": (label, 0.0, 1000.0),
        "--detail-weight": (detail, 0.0, 1000.0),
        "--save-every": (args.save_every, 1, 10**10),
        "--seed": (args.seed, 0, 2**63 - 1),
    }
    for flag, (value, low, high) in checks.items():
        if not low <= value <= high:
            raise UsageError(f"{flag} {value}: expected {low:g} to {high:g}")
    named = ("patch", "blocks", "normalisation", "activation", "samples", "batch", "lr", "warmup", "cooldown")
    asked = {name: getattr(args, name) for name in (*named, "face_weight", "eye_weight", "seed")}
    return Settings(tuple(args.widths), **asked, label_weight=label, detail_weight=detail, critic=critic)


def run(args: argparse.Namespace) -> int:
    critic, schema, sha256 = read_annotator(args.critic) if args.critic else (None, None, None)
    settings = _settings(args, sha256)
    source = read_source(args.data, args.schema)
    if schema not in (None, source.schema):
        raise Refused(f"{args.critic}: reads another schema than {args.data} is labelled with")
    try:
        trainer = Trainer(settings, source, _device(args.device), critic)
    except Refused as error:
        raise UsageError(str(error)) from error
    state = args.output / STATE
    if state.is_file():
        trainer.resume(state)
        print(f"{args.output}: going on after {trainer.seen} of {settings.samples} images")
    elif args.output.is_dir() and any(args.output.iterdir()) and not (args.output / ABOUT).is_file():
        raise Refused(f"{args.output}: holds other files; choose an empty folder with -o")
    elif args.init_from is not None:
        trainer.start_from(read_checkpoint(args.init_from))
    args.output.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"command": args.command, "parameters": sum(w.numel() for w in trainer.weights.values())}
    about |= {"machine": platform.machine(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    write_whole(args.output / ABOUT, json.dumps(about, indent=2).encode() + b"\n")
    learn(trainer, args.output / "log.jsonl", args.save_every, lambda: _save(trainer, args.output))
    written = args.output / "checkpoint.pt"
    print(f"{written}: {trainer.seen} images; export it with python -m export {written}")
    return 0


def main(argv: list[str] | None = None) -> int:
    return run_command("training.train", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
