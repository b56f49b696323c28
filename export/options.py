"""Flags that `python -m export` and `python -m export.trt` share: what to make of a checkpoint."""

from __future__ import annotations

import argparse

OF_A_CHECKPOINT = ("steps", "guidance", "arch", "schema", "image_size")
"""Options that a bundle answers by itself."""


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add them to a parser."""
    add = parser.add_argument
    add("--steps", type=int, metavar="N", help="sampling steps (the checkpoint's default)")
    add("--guidance", type=float, metavar="G", help="guidance scale, 1 is none (the checkpoint's default)")
    add("--verify", choices=["quick", "full"], default="quick", help="32 or 256 conditions against torch (quick)")
    add("--arch", choices=["document", "edge"], help="network of a bare state dict")
    add("--schema", metavar="NAME", help="condition schema of a bare state dict: document")
    add("--image-size", type=int, metavar="N", help="height and width in pixels, for a bare state dict")
    add("--json", action="store_true", help="report for machines")
