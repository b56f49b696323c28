"""Distil a guided teacher into students of 16, 8, 4, 2 and 1 steps, each an ordinary checkpoint.

    python -m training.distill checkpoints/cabin64-teacher.pt build/cabin64 -o build/students

The folder holds `student-16.pt`, `student-8.pt` ... (each the teacher of the next), `log.jsonl`, and `state.pt`
with which the same command goes on after an interruption. A student runs on its own timesteps, without guidance.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from contract.cli import Parser, integer
from contract.errors import Refused, UsageError, run_command
from contract.files import write_whole
from contract.guidance import check_guidance
from contract.schedule import trailing
from models.annotator import TrainedAnnotator
from models.annotator_file import read_annotator
from models.checkpoint import Checkpoint, SamplerDefaults, read_checkpoint, write_checkpoint
from models.safe_load import load_archive
from sources.base import LabelledFrames
from sources.imagefolder import read_source
from training.distillation import Distiller, DistillStage, Teacher
from training.loop import learn
from training.perceptual_loss import critic_weights
from training.train import sample_grid

STATE, LOG = "state.pt", "log.jsonl"
OWN = r"student-\d+\.(pt|png)|state\.pt|log\.jsonl"
SAVE_EVERY = 20_000
"""Images between two saves of the state."""

START = 32
"""Steps that the first teacher takes."""

SAMPLES = (64_000, 64_000, 128_000, 128_000, 128_000)
"""Images of each round: few steps are further from what the network knows, and need more."""


def student_path(folder: Path, steps: int) -> Path:
    """Where the student of so many steps is written."""
    return folder / f"student-{steps}.pt"


def rounds(start: int, end: int, samples: list[int], shared: DistillStage) -> Iterator[DistillStage]:
    """The halvings from `start` steps down to `end`; the last number of samples serves all that follow.

    Raises UsageError unless both are powers of two, the first the larger.
    """
    powers = {1 << exponent for exponent in range(11)}
    if start not in powers or end not in powers or start <= end:
        raise UsageError(f"--start {start} --end {end}: expected two powers of two up to 1024, the first the larger")
    number = 0
    while start > end:
        start //= 2
        yield replace(shared, steps=start, samples=samples[min(number, len(samples) - 1)])
        number += 1


def teacher_of(checkpoint: Checkpoint, steps: int, guidance: float | None) -> Teacher:
    """How a checkpoint teaches: a student at its own timesteps, any other network at `steps` trailing ones, guided."""
    timesteps = checkpoint.sampler.timesteps or tuple(trailing(checkpoint.diffusion.timesteps, steps).tolist())
    return Teacher(checkpoint.network(), checkpoint.diffusion, timesteps, _scale(checkpoint, guidance))


def distil(
    checkpoint: Checkpoint,
    settings: DistillStage,
    source: LabelledFrames,
    folder: Path,
    guidance: float | None,
    critic: TrainedAnnotator | None = None,
) -> Checkpoint:
    """One round, gone on with where it stopped: the student, written to the folder."""
    teacher = teacher_of(checkpoint, 2 * settings.steps, guidance)
    distiller = Distiller(teacher, settings, source, critic=critic)
    about: dict[str, Any] = {"settings": asdict(settings), "data": source.fingerprint, "teacher": checkpoint.sha256}
    about |= {"guidance": teacher.guidance}
    state = folder / STATE
    if state.is_file():
        content, _ = load_archive(state)
        if not isinstance(content, Mapping) or any(content.get(key) != value for key, value in about.items()):
            raise Refused(f"{state}: of a round with other settings, data or teacher; choose another folder with -o")
        distiller.restore(content)
    learn(
        distiller, folder / LOG, SAVE_EVERY, lambda: _save(state, about | distiller.state()), {"steps": settings.steps}
    )
    student = _student(checkpoint, distiller, about)
    path = student_path(folder, settings.steps)
    sha256 = write_checkpoint(path, student)
    sample_grid(student, path.with_suffix(".png"))
    state.unlink()
    return replace(student, sha256=sha256)


def _save(path: Path, content: Mapping[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def _student(checkpoint: Checkpoint, distiller: Distiller, about: Mapping[str, Any]) -> Checkpoint:
    timesteps = distiller.teacher.student_timesteps
    before = checkpoint.lineage
    taught = {
        "steps": len(timesteps),
        "samples": distiller.seen,
        "guidance": about["guidance"],
        "teacher": about["teacher"],
        "data": about["data"],
        "settings": about["settings"],
    }
    lineage = {**before, "distilled": [*before.get("distilled", []), taught]}
    stored = {name: weight.half() for name, weight in distiller.averaged.items()}
    sampler = SamplerDefaults(timesteps, len(timesteps), 1.0)
    config = distiller.network.config
    return replace(checkpoint, config=config, weights=stored, sampler=sampler, lineage=lineage, sha256="")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    default = DistillStage(steps=1, samples=1)
    parser = Parser(
        prog="python -m training.distill",
        description="Distil a guided teacher into students of few steps.",
        epilog="example: python -m training.distill checkpoints/cabin64-teacher.pt build/cabin64 -o build/students",
    )
    parser.add_argument("teacher", type=Path, metavar="CKPT", help="a checkpoint that predicts x0")
    parser.add_argument("data", type=Path, help="a cache of the cabin, or an imagefolder with metadata.jsonl")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/students"), help="(build/students)")
    parser.add_argument("--start", type=integer(2, 1024), default=START, help="steps of the first teacher (32)")
    parser.add_argument("--end", type=integer(1, 512), default=1, help="steps of the last student (1)")
    parser.add_argument("--guidance", type=float, metavar="G", help="scale folded in (the checkpoint's default)")
    parser.add_argument(
        "--samples", type=integer(1, 10**10), nargs="+", default=list(SAMPLES), help="images of each round, in order"
    )
    parser.add_argument("--batch", type=integer(1, 65_536), default=default.batch)
    parser.add_argument("--lr", type=float, default=default.lr, help="peak learning rate (0.0003)")
    parser.add_argument("--face-weight", type=float, default=default.face_weight, help="extra loss at landmarks (4)")
    parser.add_argument("--eye-weight", type=float, default=default.eye_weight, help="the same at the eyes (4)")
    parser.add_argument(
        "--consistent", action="store_true", help="learn where the teacher ends, not where its next two steps lead"
    )
    parser.add_argument("--normalised", action="store_true", help="keep the normalisation that students do without")
    parser.add_argument("--critic", type=Path, metavar="ANNOTATOR", help="annotator.pt that judges what is predicted")
    parser.add_argument("--label-weight", type=float, help="weight of the labels it reads (0.001)")
    parser.add_argument("--detail-weight", type=float, help="weight of its features (0.1)")
    parser.add_argument("--schema", default="cabin", help="schema of an imagefolder that doesn't name its own (cabin)")
    parser.add_argument("--seed", type=integer(0, 2**63 - 1), default=default.seed)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    critic, schema, sha256 = read_annotator(args.critic) if args.critic else (None, None, None)
    label, detail = critic_weights(args.label_weight, args.detail_weight, sha256)
    weights = {"face_weight": args.face_weight, "eye_weight": args.eye_weight}
    weights |= {"label_weight": label, "detail_weight": detail}
    for name, weight in weights.items():
        if not 0.0 <= weight <= 1000.0:
            raise UsageError(f"--{name.replace('_', '-')} {weight:g}: expected 0 to 1000")
    shared = DistillStage(
        1,
        1,
        args.batch,
        args.lr,
        critic=sha256,
        consistent=args.consistent,
        fold=not args.normalised,
        seed=args.seed,
        **weights,
    )
    plan = list(rounds(args.start, args.end, args.samples, shared))
    checkpoint = read_checkpoint(args.teacher)
    _check(checkpoint, args)
    source = read_source(args.data, args.schema)
    if source.schema != checkpoint.schema or source.image != checkpoint.config.image:
        raise Refused(f"{args.data}: frames of another schema or size than {args.teacher} draws")
    if schema not in (None, source.schema):
        raise Refused(f"{args.critic}: reads another schema than {args.data} is labelled with")
    args.output.mkdir(parents=True, exist_ok=True)
    foreign = [p.name for p in args.output.iterdir() if not re.fullmatch(OWN, p.name.removesuffix(".tmp"))]
    if foreign:
        raise Refused(f"{args.output}: holds {foreign[0]!r}, which is no student's; give another folder with -o")
    for settings in plan:
        path = student_path(args.output, settings.steps)
        if path.is_file():
            checkpoint = _finished(path, checkpoint, settings, source, args.guidance)
            print(f"{path}: there already")
            continue
        checkpoint = distil(checkpoint, settings, source, args.output, args.guidance, critic)
        print(f"{path}: {settings.samples} images; export it with python -m export {path}")
    return 0


def _check(checkpoint: Checkpoint, args: argparse.Namespace) -> None:
    if checkpoint.diffusion.prediction != "x0":
        raise Refused(f"{args.teacher}: predicts {checkpoint.diffusion.prediction}; a student needs a teacher of x0")
    own = checkpoint.sampler.timesteps
    if own is not None and (len(own) != args.start or args.guidance is not None):
        raise UsageError(f"{args.teacher}: a student of {len(own)} steps; give --start {len(own)} and no --guidance")
    if args.guidance is not None:
        check_guidance(args.guidance)
    if args.guidance not in (None, 1.0) and not checkpoint.guided:
        raise UsageError(f"--guidance {args.guidance:g}: the checkpoint has no null condition; leave it out")


def _scale(checkpoint: Checkpoint, guidance: float | None) -> float:
    """The guidance scale that a student takes over: none from another student."""
    own = checkpoint.sampler
    return 1.0 if own.timesteps is not None else own.guidance if guidance is None else guidance


def _finished(
    path: Path, teacher: Checkpoint, settings: DistillStage, source: LabelledFrames, guidance: float | None
) -> Checkpoint:
    """A student of an earlier run; Refused where another command made it."""
    student = read_checkpoint(path)
    taught = (student.lineage.get("distilled") or [{}])[-1]
    wanted: dict[str, Any] = {"teacher": teacher.sha256, "settings": asdict(settings), "data": source.fingerprint}
    wanted |= {"guidance": _scale(teacher, guidance)}
    if any(taught.get(key) != value for key, value in wanted.items()):
        raise Refused(f"{path}: made with other settings or of another teacher; choose another folder with -o")
    return student


def main(argv: list[str] | None = None) -> int:
    return run_command("training.distill", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
