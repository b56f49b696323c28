"""Train the network that reads labels back from frames, and give it to checkpoints.

    python -m sources.render build/heldout64 -n 4096 --domain held-out --seed 1
    python -m training.train_annotator build/cabin64 --held-out build/heldout64 -o build/annotator --into CKPT.pt

One half of the held-out frames (other people) calibrates its confidence, the other half measures it. The folder
holds `annotator.pt`, `log.jsonl`, and `state.pt` with which the same command goes on after an interruption.
"""

from __future__ import annotations

import argparse
import io
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contract.cli import Parser, integer
from contract.conditions import Schema
from contract.errors import Refused, run_command
from contract.files import write_whole
from models.annotator import Annotator, AnnotatorConfig, TrainedAnnotator
from models.annotator_file import write_annotator
from models.checkpoint import read_checkpoint, write_checkpoint
from models.safe_load import load_archive
from sources.base import LabelledFrames
from sources.imagefolder import read_source
from training.annotator_loss import Targets, annotation_loss, augment, calibrate, scores
from training.batches import as_images
from training.loop import learn

RESULT, STATE, LOG = "annotator.pt", "state.pt", "log.jsonl"
SAVE_EVERY = 40_960
"""Images between two saves of the state."""


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do; the same when it goes on."""

    samples: int = 600_000
    """Images seen in all; the learning rate falls to zero over them as a half cosine."""
    batch: int = 128
    lr: float = 2e-3
    ema: float = 0.998
    """Decay of the averaged weights a step."""
    widths: tuple[int, ...] = (32, 64, 96)
    blocks: int = 2
    seed: int = 0
    begun: str | None = None
    """sha256 of the file whose annotator the run begins with, where it doesn't begin anew."""


class AnnotatorTrainer:
    """Draws batches from a source in memory and improves an annotator on them."""

    def __init__(self, settings: Settings, source: LabelledFrames, begun: TrainedAnnotator | None = None) -> None:
        torch.manual_seed(settings.seed)
        self.settings, self.source = settings, source
        self.targets = Targets.of(source)
        image, names = source.image, self.targets.landmarks.names
        sides = (image.height, image.width)
        config = AnnotatorConfig(image.channels, sides, settings.widths, settings.blocks, landmarks=names)
        self.network = Annotator(AnnotatorConfig.from_dict(config.to_dict()), source.schema)
        if begun:
            if begun.config != self.network.config:
                raise Refused(f"--init-from: an annotator {begun.config.to_dict()}; this run trains {config.to_dict()}")
            self.network.load_state_dict(begun.network(source.schema).state_dict())
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = {name: value.clone() for name, value in self.network.state_dict().items()}
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, settings.lr, weight_decay=0.02, fused=True)
        self.seen = 0

    @property
    def total(self) -> int:
        return self.settings.samples

    @property
    def batch(self) -> int:
        return self.settings.batch

    def learning_rate(self) -> float:
        """A short linear warm-up, then a half cosine to 0."""
        share = min(1.0, self.seen / self.settings.samples)
        return self.settings.lr * min(1.0, 20.0 * share + 0.01) * 0.5 * (1.0 + math.cos(math.pi * share))

    def step(self) -> float:
        """One batch; returns its loss."""
        s = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        number = self.seen // s.batch
        stream = np.random.Generator(np.random.Philox(key=[s.seed, number]))
        rows = stream.integers(len(self.source.frames), size=s.batch)
        noise = torch.Generator().manual_seed(int(stream.integers(2**62)))
        images, targets = augment(as_images(self.source.frames[rows]), self.targets.rows(rows), noise)
        self.network.train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = annotation_loss(self.network, images.contiguous(memory_format=torch.channels_last), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.seen += s.batch
        decay = min(s.ema, (1.0 + number) / (10.0 + number))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                if value.dtype.is_floating_point:
                    self.averaged[name].lerp_(value, 1.0 - decay)
        return float(loss.detach())

    def finished(self, held_out: LabelledFrames) -> TrainedAnnotator:
        """The averaged weights, calibrated on one half of held-out frames and measured on the other."""
        network = Annotator(self.network.config, self.source.schema)
        network.load_state_dict(self.averaged)
        network.eval().requires_grad_(False)
        targets = Targets.of(held_out)
        even, odd = slice(0, None, 2), slice(1, None, 2)
        calibrate(network, as_images(held_out.frames[even]), targets.rows(even))
        stored = TrainedAnnotator.of(network, {})
        figures = scores(stored.network(self.source.schema).annotate(held_out.frames[odd]), targets.rows(odd))
        figures |= {
            "begun": self.settings.begun,
            "seed": self.settings.seed,
            "samples": self.seen,
            "data": self.source.fingerprint,
            "held_out_data": held_out.fingerprint,
        }
        return replace(stored, held_out=figures)

    def save(self, path: Path) -> None:
        """Everything needed to go on, whole or not at all."""
        content = {
            "settings": asdict(self.settings) | {"widths": list(self.settings.widths)},
            "data": self.source.fingerprint,
            "seen": self.seen,
            "network": self.network.state_dict(),
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_whole(path, buffer.getvalue())

    def resume(self, path: Path) -> None:
        """Go on from `save`; Refused where the file is damaged or belongs to another run."""
        content, _ = load_archive(path)
        asked = asdict(self.settings) | {"widths": list(self.settings.widths)}
        keys = {"settings", "data", "seen", "network", "averaged", "optimizer"}
        if not isinstance(content, dict) or set(content) != keys:
            raise Refused(f"{path}: no state of a run; remove it to begin anew")
        if content["settings"] != asked or content["data"] != self.source.fingerprint:
            raise Refused(f"{path}: a run with other settings or data; give the same, or another folder with -o")
        self.network.load_state_dict(content["network"])
        self.averaged = content["averaged"]
        self.optimizer.load_state_dict(content["optimizer"])
        self.seen = content["seen"]


def attach_annotator(annotator: TrainedAnnotator, schema: Schema, path: Path) -> None:
    """Write a checkpoint again with this annotator; Refused where its schema is another."""
    checkpoint = read_checkpoint(path)
    if checkpoint.schema != schema:
        raise Refused(f"{path}: its schema {checkpoint.schema.name!r} isn't the one that the annotator reads")
    write_checkpoint(path, replace(checkpoint, annotator=annotator))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    default = Settings()
    parser = Parser(
        prog="python -m training.train_annotator",
        description="Train the network that reads labels back from frames.",
        epilog="example: python -m training.train_annotator build/cabin64 --held-out build/heldout64"
        " --into build/run/checkpoint.pt",
    )
    parser.add_argument("data", type=Path, help="a cache of the cabin, or an imagefolder with metadata.jsonl")
    parser.add_argument("--held-out", type=Path, required=True, help="frames of other people, of the same kind")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/annotator"), help="(build/annotator)")
    parser.add_argument("--into", type=Path, nargs="+", default=[], metavar="CKPT", help="checkpoints to give it to")
    parser.add_argument("--samples", type=integer(1, 10**10), default=default.samples, help="images in all (600000)")
    parser.add_argument("--batch", type=integer(2, 4096), default=default.batch)
    parser.add_argument("--lr", type=float, default=default.lr, help="peak learning rate (0.002)")
    parser.add_argument("--widths", type=int, nargs="+", default=list(default.widths), help="channels, finest first")
    parser.add_argument("--init-from", type=Path, metavar="CKPT", help="begin with the annotator that this one carries")
    parser.add_argument("--schema", default="cabin", help="schema of an imagefolder that doesn't name its own (cabin)")
    parser.add_argument("--seed", type=integer(0, 2**63 - 1), default=default.seed)
    parser.add_argument("--json", action="store_true", help="report for machines")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    for path in args.into:
        read_checkpoint(path)  # refused before an hour of training, not after
    begun = read_checkpoint(args.init_from) if args.init_from else None
    if begun and not begun.annotator:
        raise Refused(f"{args.init_from}: carries no annotator; leave --init-from out to begin anew")
    settings = Settings(args.samples, args.batch, args.lr, widths=tuple(args.widths), seed=args.seed)
    if begun:
        settings = replace(settings, begun=begun.sha256)
    held_out = read_source(args.held_out, args.schema)
    if begun and begun.schema != held_out.schema:
        raise Refused(f"{args.init_from}: its annotator reads another schema than {args.held_out} is labelled with")
    trainer = AnnotatorTrainer(settings, read_source(args.data, args.schema), begun.annotator if begun else None)
    if held_out.schema != trainer.source.schema or held_out.frames.shape[1:] != trainer.source.frames.shape[1:]:
        raise Refused(f"{args.held_out}: frames of another schema or size than those of {args.data}")
    args.output.mkdir(parents=True, exist_ok=True)
    foreign = [
        path.name for path in args.output.iterdir() if path.name.removesuffix(".tmp") not in (RESULT, STATE, LOG)
    ]
    if foreign:
        raise Refused(f"{args.output}: holds {foreign[0]!r}, which is no annotator's; give another folder with -o")
    if (args.output / STATE).exists():
        trainer.resume(args.output / STATE)
    learn(trainer, args.output / LOG, SAVE_EVERY, lambda: trainer.save(args.output / STATE))
    annotator = trainer.finished(held_out)
    write_annotator(args.output / RESULT, annotator, trainer.source.schema)
    for path in args.into:
        attach_annotator(annotator, trainer.source.schema, path)
    print(json.dumps(annotator.held_out) if args.json else _told(annotator.held_out, args.output))
    return 0


def _told(figures: Any, folder: Path) -> str:
    lines = [f"{folder / RESULT}: on {figures['frames']} held-out frames"]
    lines += [f"  {name:18s} {share:.1%} right" for name, share in figures["class_accuracy"].items()]
    lines += [f"  {name:18s} off by {error:.3g}" for name, error in figures["mae"].items()]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    return run_command("training.train_annotator", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
