"""Distil a guided teacher into students of 16, 8, 4, 2 and 1 steps, each an ordinary checkpoint.

    python -m training.distill checkpoints/cabin128-teacher.pt build/cabin128 -o build/students

The folder holds `student-16.pt`, `student-8.pt` ... (each the teacher of the next), `log.jsonl`, and `state.pt`
with which the same command goes on after an interruption. A student runs on its own timesteps, without guidance.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contract.cli import Parser, integer
from contract.driver_hashes import training_steps
from contract.errors import Refused, UsageError, run_command
from contract.guidance import check_guidance
from models.annotator import TrainedAnnotator
from models.checkpoint import Checkpoint, SamplerDefaults, read_checkpoint, write_checkpoint
from sources.base import LabelledFrames
from sources.imagefolder import read_source
from training.distillation import DistillStage, StudentObjective, Teacher
from training.image_recipe import add_image_flags, read_critic
from training.lineage import annotator_lineage, budget_after, driver_lineage, start_lineage
from training.options import add_run_flags, check_device, run_settings
from training.run import STATE, Run, claim_folder
from training.samples import sample_grid

OWN = r"student-\d+\.(?:pt|png)"
SAVE_EVERY = 20_000
"""Images between two saves of the state."""

START = 32
"""Steps that the first teacher takes."""

SAMPLES = (64_000, 64_000, 128_000, 128_000, 128_000)
"""Images of each stage: few steps are further from what the network knows, and need more."""


def student_path(folder: Path, steps: int) -> Path:
    """Where the student of `steps` steps is written."""
    return folder / f"student-{steps}.pt"


def stages(start: int, end: int, samples: list[int], shared: DistillStage) -> Iterator[DistillStage]:
    """The students from `start` steps down to `end`, by strides; the last number of samples serves all that follow.

    Raises UsageError unless both are powers of two, the first the larger, and whole strides lead from one to the other.
    """
    powers, stride = {1 << exponent for exponent in range(11)}, shared.stride
    if start not in powers or end not in powers or start <= end:
        raise UsageError(f"--start {start} --end {end}: expected two powers of two up to 1024, the first the larger")
    reached = [start]
    while reached[-1] > end:
        reached.append(reached[-1] // stride)
    if reached[-1] != end or stride not in powers:
        raise UsageError(f"--stride {stride}: expected a power of two that leads from {start} steps to {end}")
    for number, steps in enumerate(reached[1:]):
        yield replace(shared, steps=steps, samples=samples[min(number, len(samples) - 1)])


@dataclass(frozen=True)
class Distillation:
    """What every stage of a command shares."""

    source: LabelledFrames
    folder: Path
    guidance: float | None
    """Scale that is folded into the first student; None for the checkpoint's own."""
    shift: float | None = None
    """How far the first teacher's timesteps, and with them all students', are shifted towards noise; None likewise."""
    critic: TrainedAnnotator | None = None
    device: str = "cpu"
    compiled: bool = False
    """Whether torch.compile takes teacher and student."""

    def student(self, checkpoint: Checkpoint, stage: DistillStage, start: Checkpoint | None = None) -> Checkpoint:
        """The student of one stage: trained, or the one that an earlier run of the same command left.

        It begins with its teacher's weights, or with those of `start`, an earlier student of as many steps.
        """
        path, state = student_path(self.folder, stage.steps), self.folder / STATE
        teacher = self._teacher(checkpoint, stage)
        about = {"data": self.source.fingerprint, "teacher": checkpoint.sha256, "guidance": teacher.guidance}
        about |= {"timesteps": list(teacher.student_timesteps), "init_from": start.sha256 if start else None}
        if path.is_file():
            print(f"{path}: there already")
            if state.is_file() and state.stat().st_mtime_ns <= path.stat().st_mtime_ns:
                state.unlink()  # its own, of a run that ended between the two lines that write one and remove the other
            return _finished(path, about | {"settings": stage.to_dict()})
        objective = StudentObjective(teacher, stage, self.source, self.device, self.critic, start)
        if self.compiled:
            objective.network.compile()
            teacher.network.compile()
        training = Run(objective, stage, about)
        claim_folder(self.folder, OWN)
        if state.is_file():
            training.resume(state)
        training.train(self.folder, SAVE_EVERY, label={"steps": stage.steps})
        student = _student(checkpoint, objective, training, self.source, self.critic, start)
        sha256 = write_checkpoint(path, student)
        state.unlink()
        sample_grid(student, path.with_suffix(".png"), device=self.device)
        print(f"{path}: {stage.samples} images; export it with python -m export {path}")
        return replace(student, sha256=sha256)

    def _teacher(self, checkpoint: Checkpoint, stage: DistillStage) -> Teacher:
        """A student teaches at its own timesteps, unguided; any other network at as many of all as needed, guided."""
        own = checkpoint.sampler
        guidance = own.guidance if own.timesteps is not None or self.guidance is None else self.guidance
        timesteps = checkpoint.timesteps(stage.stride * stage.steps, self.shift)
        return Teacher(checkpoint.network(), checkpoint.diffusion, timesteps, guidance, stage.stride)


def _student(
    checkpoint: Checkpoint,
    objective: StudentObjective,
    training: Run,
    source: LabelledFrames,
    critic: TrainedAnnotator | None,
    start: Checkpoint | None,
) -> Checkpoint:
    timesteps, before = objective.teacher.student_timesteps, checkpoint.lineage
    taught = {"steps": len(timesteps), "samples": training.seen, **training.about}
    taught["drivers"] = driver_lineage(source)
    seen: list[str | None] = [source.fingerprint]
    if critic:
        taught["critic"] = annotator_lineage(critic)
        seen.append(taught["critic"]["data"])
    if start:
        taught["before"] = start_lineage(start.lineage)
        seen += [step.get("data") for step in training_steps(taught["before"])]
    lineage = {**before, **budget_after(before, *seen), "distilled": [*before.get("distilled", []), taught]}
    stored = {name: weight.half() for name, weight in training.averaged.items()}
    sampler, config = SamplerDefaults(timesteps, len(timesteps), 1.0), objective.network.config
    return replace(checkpoint, config=config, weights=stored, sampler=sampler, lineage=lineage, sha256="")


def _finished(path: Path, about: Mapping[str, Any]) -> Checkpoint:
    """A student of an earlier run; Refused where another command made it."""
    student = read_checkpoint(path)
    taught = (student.lineage.get("distilled") or [{}])[-1]
    other = [name for name, value in about.items() if taught.get(name) != value]
    if other:
        raise Refused(f"{path}: a student with other {', '.join(other)}; choose another folder with -o")
    return student


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    default = DistillStage()
    parser = Parser(
        prog="python -m training.distill",
        description="Distil a guided teacher into students of few steps.",
        epilog="example: python -m training.distill checkpoints/cabin128-teacher.pt build/cabin128 -o build/students",
    )
    add = parser.add_argument
    add("teacher", type=Path, metavar="CKPT", help="a checkpoint that predicts x0")
    add_run_flags(parser, default, Path("build/students"))
    add("--start", type=integer(2, 1024), default=START, help="steps of the first teacher (32)")
    add("--end", type=integer(1, 512), default=1, help="steps of the last student (1)")
    add("--stride", type=integer(2, 1024), default=default.stride, help="steps of a teacher that become one (2)")
    add("--guidance", type=float, metavar="G", help="scale folded in (the checkpoint's default)")
    add("--shift", type=float, metavar="S", help="steps moved towards noise (the checkpoint's default)")
    add("--samples", type=integer(1, 10**10), nargs="+", default=list(SAMPLES), help="images of each stage, in order")
    add("--init-from", type=Path, metavar="STUDENT", help="an earlier student, with which the first one begins")
    add("--consistent", action="store_true", help="learn where the teacher ends, not where its next stride leads")
    add("--normalised", action="store_true", help="keep the normalisation that students do without")
    add_image_flags(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    critic, schema, weights = read_critic(args)
    own = {"stride": args.stride, "consistent": args.consistent, "fold": not args.normalised}
    shared = DistillStage(**own, **run_settings(args), **weights)
    plan = list(stages(args.start, args.end, args.samples, shared))
    checkpoint = read_checkpoint(args.teacher)
    _check_teacher(checkpoint, args)
    start = read_checkpoint(args.init_from) if args.init_from else None
    if start and (start.schema, start.diffusion) != (checkpoint.schema, checkpoint.diffusion):
        raise Refused(f"{args.init_from}: a student of another schema or diffusion than {args.teacher}")
    device, source = check_device(args.device), read_source(args.data, args.schema)
    if source.schema != checkpoint.schema or source.image != checkpoint.config.image:
        raise Refused(f"{args.data}: frames of another schema or size than {args.teacher} draws")
    if schema not in (None, source.schema):
        raise Refused(f"{args.critic}: reads another schema than {args.data} is labelled with")
    distillation = Distillation(source, args.output, args.guidance, args.shift, critic, device, args.compile)
    for stage in plan:
        checkpoint, start = distillation.student(checkpoint, stage, start), None
    return 0


def _check_teacher(checkpoint: Checkpoint, args: argparse.Namespace) -> None:
    if checkpoint.diffusion.prediction != "x0":
        raise Refused(f"{args.teacher}: predicts {checkpoint.diffusion.prediction}; a student needs a teacher of x0")
    own = checkpoint.sampler.timesteps
    given = args.guidance is not None or args.shift is not None
    if own is not None and (len(own) != args.start or given):
        raise UsageError(
            f"{args.teacher}: a student of {len(own)} steps; give --start {len(own)}, no --guidance and no --shift"
        )
    checkpoint.timesteps(args.start, args.shift)
    if args.guidance is not None:
        check_guidance(args.guidance)
    if args.guidance not in (None, 1.0) and not checkpoint.guided:
        raise UsageError(f"--guidance {args.guidance:g}: the checkpoint has no null condition; leave it out")


def main(argv: list[str] | None = None) -> int:
    return run_command("training.distill", lambda: run(parse_args(argv)))


if __name__ == "__main__":
    raise SystemExit(main())
