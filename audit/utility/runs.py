"""Every run of every arm, trained once: its answers on the test frames are kept.

results = run_all(arms, pools, folder / "runs")

A result is named by everything that decides it (plan, frames, recipe, arm, seed), so that the same command goes on
where it stopped and other frames never meet an old result.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from msgspec import Meta

from audit.utility.arms import ARM_TOPIC, Pools, shuffled, training_frames
from audit.utility.classifier import BLOCKS, WIDTHS, predict, recipe_of, save_network, train
from audit.utility.inputs import LabelledSet, task_frames
from audit.utility.selection import Rows
from contract.errors import Refused
from contract.files import read_json, write_whole
from contract.noise import stream
from contract.record import Record
from sources.base import LabelledFrames, fingerprint

Answer = Annotated[int, Meta(ge=0)]


@dataclass(frozen=True)
class Result(Record):
    """What a run leaves."""

    WHAT = "result"

    arm: str
    seed: int
    frames: tuple[int, ...]
    """How many it trained on, by phase."""
    data: str
    """sha256 over them with their labels."""
    samples: int
    """Images seen when the validation frames liked it best."""
    validation: float
    """Macro-F1 on them then."""
    seconds: float
    answers: dict[str, tuple[Answer, ...]]
    """By task, the class of each test frame."""
    network: str
    """Name of the file beside it that holds the classifier's weights."""


def run_all(
    arms: Mapping[str, str], pools: Pools, folder: Path, control: bool = False, workers: int = 1
) -> dict[str, list[Result]]:
    """Results by arm, one a seed; those that aren't in `folder` are trained.

    Several `workers` are processes of one thread each; one trains here, with all cores.

    With `control`, training and validation frames have each other's labels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [(arm, seed) for seed in range(pools.plan.protocol.seeds) for arm in arms]
    one, found = partial(_run, folder=folder, control=control), {arm: list[Result]() for arm in arms}
    started, trained = time.monotonic(), 0
    for number, (arm, seed, path, new) in enumerate(_finished(one, wanted, pools, workers), start=1):
        found[arm].append(_read(path, pools))
        trained += new
        if new:
            left = _minutes(started, trained, len(wanted) - number)
            print(f"{number}/{len(wanted)}: {arms[arm]}, seed {seed}; about {left} left", file=sys.stderr, flush=True)
    return found


def _finished(
    one: Callable[[Pools, tuple[str, int]], tuple[Path, bool]],
    wanted: Sequence[tuple[str, int]],
    pools: Pools,
    workers: int,
) -> Iterator[tuple[str, int, Path, bool]]:
    """(arm, seed, path, whether it was trained now) in the order in which they are wanted."""
    if workers == 1:
        for task in wanted:
            yield *task, *one(pools, task)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(wanted)), spawn, _begin, (pools,)) as executor:
        running = [executor.submit(_run_here, one, task) for task in wanted]
        try:
            for task, future in zip(wanted, running, strict=True):
                yield *task, *future.result()
        except BrokenProcessPool as error:
            raise Refused(f"a worker was killed; the same command goes on, with a --workers below {workers}") from error
        finally:
            executor.shutdown(cancel_futures=True)


def _begin(pools: Pools) -> None:
    """In a worker: keep what all runs share, and leave the other cores to other workers."""
    torch.set_num_threads(1)
    _SHARED.append(pools)


def _run_here(one: Callable[[Pools, tuple[str, int]], tuple[Path, bool]], task: tuple[str, int]) -> tuple[Path, bool]:
    return one(_SHARED[-1], task)


_SHARED: list[Pools] = []
"""Of a worker process: what it was started with."""


def _run(pools: Pools, task: tuple[str, int], folder: Path, control: bool) -> tuple[Path, bool]:
    """The file of a result, and whether it had to be trained."""
    arm, seed = task
    phases, validation = training_frames(arm, pools, seed), _rows(pools.real, pools.splits.validation)
    if control:
        random = stream(seed, 1, ARM_TOPIC)
        phases, validation = tuple(shuffled(phase, random) for phase in phases), shuffled(validation, random)
    path = folder / f"{arm}-{seed}-{_digest(pools, phases, validation, seed)}.json"
    if path.exists():
        return path, False
    result = _train(arm, seed, pools, phases, validation, path.with_suffix(".pt"))
    write_whole(path, json.dumps(result.to_dict()).encode() + b"\n")
    return path, True


def _train(
    arm: str, seed: int, pools: Pools, phases: Sequence[LabelledFrames], validation: LabelledFrames, network: Path
) -> Result:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        choice = train(phases, validation, recipe_of(pools.plan.protocol, seed), Path(scratch), {"arm": arm})
    save_network(choice.network, network)
    answers = predict(choice.network, pools.real.frames.frames[pools.splits.test])
    return Result(
        arm,
        seed,
        tuple(len(phase.frames) for phase in phases),
        _fingerprint(phases),
        choice.samples,
        choice.score,
        round(time.monotonic() - started, 1),
        {task: tuple(column) for task, column in zip(pools.plan.tasks, answers.T.tolist(), strict=True)},
        network.name,
    )


def _read(path: Path, pools: Pools) -> Result:
    try:
        result = Result.from_dict(read_json(path))
    except Refused as error:
        raise Refused(f"{path}: {error}; remove it, and it is trained again") from error
    for task in pools.plan.tasks:
        classes = len(pools.real.frames.schema.field(task).values)
        answers = result.answers.get(task, ())
        if len(answers) != len(pools.splits.test) or max(answers) >= classes:
            raise Refused(f"{path}: not an answer for every test frame; remove it, and it is trained again")
    return result


def _digest(pools: Pools, phases: Sequence[LabelledFrames], validation: LabelledFrames, seed: int) -> str:
    recipe = recipe_of(pools.plan.protocol, seed).to_dict()
    decides = [pools.plan.digest, recipe, WIDTHS, BLOCKS, _fingerprint(phases), _fingerprint([validation])]
    return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]


def _fingerprint(sources: Sequence[LabelledFrames]) -> str:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(fingerprint(source.frames, source.conditions).encode())
        digest.update(source.hidden.tobytes())
    return digest.hexdigest()


def _rows(real: LabelledSet, rows: Rows) -> LabelledFrames:
    source = task_frames(real)
    frames, conditions, hidden = source.frames[rows], source.conditions[rows], source.hidden[rows]
    return LabelledFrames(source.schema, frames, conditions, None, hidden, None, "")


def _minutes(started: float, trained: int, left: int) -> str:
    return f"{(time.monotonic() - started) / trained * left / 60.0:.0f} min"


def answers_of(results: Sequence[Result], task: str) -> npt.NDArray[np.int64]:
    """The answers of each run: [seeds, test frames]."""
    return np.array([result.answers[task] for result in results], np.int64)
