"""What the recipes of a denoiser and of a student share: where in the frame errors count, and what a critic says.

The flags that set it are those of both commands.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.cli import number
from contract.conditions import Schema
from contract.errors import UsageError
from models.annotator import TrainedAnnotator
from models.checkpoint import read_annotator
from training.run import Recipe

LABELS, DETAIL = 0.001, 0.1
"""Weights of a critic where none are given: gradients of about the size of the squared error's (measured)."""


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """A recipe for a network that predicts images."""

    face_weight: float = 4.0
    """Extra weight of the loss around the landmarks of the face; 0 weighs all pixels alike."""
    eye_weight: float = 4.0
    """The same around the eyes: gaze and lids are a few pixels that carry half of the labels."""
    label_weight: float = 0.0
    """Weight of the labels that a critic reads from the prediction."""
    detail_weight: float = 0.0
    """Weight of the distance in the critic's features."""
    critic: str | None = None
    """sha256 of the critic's file, where there is one."""


def add_image_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of an ImageRecipe."""
    weight, default = number(0.0, 1000.0), ImageRecipe()
    parser.add_argument("--face-weight", type=weight, default=default.face_weight, help="extra loss at landmarks (4)")
    parser.add_argument("--eye-weight", type=weight, default=default.eye_weight, help="the same at the eyes (4)")
    parser.add_argument("--critic", type=Path, metavar="ANNOTATOR", help="annotator.pt that judges what is predicted")
    parser.add_argument("--label-weight", type=weight, help="weight of the labels it reads (0.001)")
    parser.add_argument("--detail-weight", type=weight, help="weight of its features (0.1)")


def read_critic(args: argparse.Namespace) -> tuple[TrainedAnnotator | None, Schema | None, dict[str, Any]]:
    """The critic with its schema, and the fields of an ImageRecipe, from `add_image_flags`.

    Raises UsageError for the weights of a critic that wasn't given.
    """
    chosen = {"face_weight": args.face_weight, "eye_weight": args.eye_weight}
    if args.critic is None:
        if args.label_weight is not None or args.detail_weight is not None:
            raise UsageError("--label-weight, --detail-weight: of a critic; give its annotator.pt with --critic")
        return None, None, chosen
    critic, schema, sha256 = read_annotator(args.critic)
    labels = LABELS if args.label_weight is None else args.label_weight
    detail = DETAIL if args.detail_weight is None else args.detail_weight
    return critic, schema, chosen | {"label_weight": labels, "detail_weight": detail, "critic": sha256}
