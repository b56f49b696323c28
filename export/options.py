"""Flags that `python -m export` and `python -m export.trt` share: what to make of a checkpoint."""

from __future__ import annotations

import argparse
from typing import Any

from contract.schedule import PREDICTIONS, SCHEDULES

ABOUT_THE_FILE = (
    "arch", "schema", "image_size", "weights", "beta_schedule", "timesteps", "prediction", "clip_range", "network",
    "network_args",
)  # fmt: skip
"""Options about a checkpoint of other software: the fields of `models.importers.given.Given`."""

OF_A_CHECKPOINT = ("steps", "shift", "guidance", *ABOUT_THE_FILE)
"""Options that a bundle answers by itself."""


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add them to a parser."""
    add = parser.add_argument
    add("--steps", type=int, metavar="N", help="sampling steps (the checkpoint's default)")
    add(
        "--shift",
        type=float,
        metavar="S",
        help="steps moved towards noise, 1 is evenly spaced (the checkpoint's default)",
    )
    add("--guidance", type=float, metavar="G", help="guidance scale, 1 is none (the checkpoint's default)")
    verify_help = "conditions drawn by torch as well: 32, or 8 where 32 would take over a minute; full: 256 (quick)"
    add("--verify", choices=["quick", "full"], default="quick", help=verify_help)
    add("--json", action="store_true", help="report for machines")
    group = parser.add_argument_group("checkpoints of other software", "what their files don't say; see docs/import.md")
    add = group.add_argument
    add("--arch", choices=["document", "denoising-diffusion"], help="the network (recognised by its weights' names)")
    add("--schema", metavar="NAME|FILE.json", help="the conditions: document, cabin, or a schema as JSON")
    add("--image-size", metavar="N|HxW", help="edge, or height and width, in pixels")
    add("--weights", choices=["ema", "model"], help="averaged or last weights, where a file has both (ema)")
    add("--beta-schedule", choices=SCHEDULES[:-1], help="noise schedule that it was trained with")
    add("--timesteps", type=int, metavar="T", help="timesteps that it was trained with (1000)")
    add("--prediction", choices=PREDICTIONS, help="what the network predicts")
    add("--clip-range", type=float, metavar="R", help="clamp the predicted image to [-R, R], 0 is no clamping")
    add("--network", metavar="MODULE:FACTORY", help="your own torch.nn.Module; the factory is imported and called")
    add("--network-args", metavar="JSON", help="keyword arguments of the factory")


def given_flags(args: argparse.Namespace) -> dict[str, Any]:
    """The options about a checkpoint of other software, by their names in `Given`."""
    return {name: getattr(args, name) for name in ABOUT_THE_FILE}
